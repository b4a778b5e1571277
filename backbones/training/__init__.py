"""Training of classifiers: recipes, images, augmentation, suites."""
