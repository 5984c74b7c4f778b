"""From a call site and its inputs to tokens, and from a completion back to fields."""
