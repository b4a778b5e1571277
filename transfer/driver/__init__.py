"""The steps of ``transfer run``: options, plan, checks, runs, tables."""
