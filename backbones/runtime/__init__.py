"""What both trainings, of classifiers and of cells, add to MMEngine's runner."""
