"""Pure rewrites of a plan, one a file, and the list of them in order."""
