"""What k samples of a problem would give, from the n that were drawn: mean@k, pass@k, maj@k and their like."""
