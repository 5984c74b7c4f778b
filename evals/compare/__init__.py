"""`reasonflow compare`: recorded evaluations beside each other, on the problems that both have."""
