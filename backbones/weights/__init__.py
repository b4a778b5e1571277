"""Weights: download, reading, and mapping of names."""
