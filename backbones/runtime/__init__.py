"""Additions to MMEngine's runner for training classifiers and for fine-tuning."""
