"""Fetching a file from an address: resumable, checked, and never half there under its name."""
