"""The intermediate representation: nodes, checks, bounds, explanations, JSON."""
