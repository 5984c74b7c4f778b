"""Training small causal language models: recipes, packing, steps, drafts of the model's own, export."""
