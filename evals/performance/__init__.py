"""Benchmarks of ReasonFlow itself: what its own machinery costs, beside the same work done without it."""
