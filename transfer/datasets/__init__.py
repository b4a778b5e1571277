"""The data sets: catalogue, layouts, and the built-in sample."""
