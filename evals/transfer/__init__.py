"""A compiled program on problems that its compile has not seen: against the one it came from, and against votes."""
