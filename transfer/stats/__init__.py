"""Intervals and verdicts from numbers."""
