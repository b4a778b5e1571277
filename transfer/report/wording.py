"""How figures are written in every table: digits, signs, intervals, counts."""

from __future__ import annotations


def figure(value: float | None) -> str:
    """Two digits behind the point; a dash for none."""
    return "–" if value is None else f"{value:.2f}"


def signed(value: float | None) -> str:
    """A gain, with its sign."""
    return "–" if value is None else f"{value:+.2f}"


def interval(low: float | None, high: float | None) -> str:
    """Both ends; a dash where there is no interval."""
    return "–" if low is None or high is None else f"{low:.2f} … {high:.2f}"


def count(number: int, thing: str) -> str:
    """``1 classifier``, ``2 classifiers``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
