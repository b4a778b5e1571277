"""Replacements and guards for private parts of the toolboxes."""
