"""A program's shape as something to search: its open choices, who proposes settings, and when one is given up."""
