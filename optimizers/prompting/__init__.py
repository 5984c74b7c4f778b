"""Prompts by DSPy's own optimizers, on our scheduler and within a budget."""
