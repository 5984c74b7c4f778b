"""Inference engines behind one protocol, one engine a file."""
