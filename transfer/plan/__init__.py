"""What is to be run: cells, protocols, suites."""
