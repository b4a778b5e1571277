"""Weights: where they come from, how they are read, and how their names are mapped."""
