"""What is sure enough to pass: scores, thresholds, and whether they still hold."""
