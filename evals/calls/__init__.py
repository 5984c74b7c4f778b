"""Function calls as answers: which functions, with which arguments, and how such answers are graded."""
