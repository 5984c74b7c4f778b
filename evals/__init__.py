"""Tasks, benchmarks, grading, the eval runner, statistics and performance benchmarks."""
