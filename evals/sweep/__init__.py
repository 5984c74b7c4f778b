"""`reasonflow sweep`: a program at many settings, as a curve of accuracy against tokens."""
