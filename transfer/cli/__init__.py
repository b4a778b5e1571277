"""The commands of the console program."""
