"""Data sets: catalogue, layouts, checks, downloads, and the built-in sample."""
