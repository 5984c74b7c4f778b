"""What improves a program: prompts, topology, gates, weights."""
