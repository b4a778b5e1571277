"""Pictures of the results; matplotlib is imported only when one is drawn."""
