"""The catalogue of classifiers: rows, networks, costs and the paper's results."""
