"""Intervals and verdicts, computed from numbers alone."""
