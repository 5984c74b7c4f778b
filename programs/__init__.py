"""The reasoning programs, each a page written in the language."""
