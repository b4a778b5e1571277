"""Scheduling of many runs: in processes on this machine, or on a Ray cluster."""
