"""The format of figures in every table: digits, signs, intervals, counts."""

from __future__ import annotations


def figure(value: float | None) -> str:
    """Two decimals; a dash for None."""
    return "–" if value is None else f"{value:.2f}"


def signed(value: float | None) -> str:
    """A gain, with its sign."""
    return "–" if value is None else f"{round(value, 2) + 0.0:+.2f}"  # never -0.00


def interval(low: float | None, high: float | None) -> str:
    """Both ends; a dash without an interval."""
    return "–" if low is None or high is None else f"{low:.2f} … {high:.2f}"


def in_brackets(low: float | None, high: float | None) -> str:
    """A gain's interval in brackets, to follow the gain; empty without one."""
    return "" if low is None or high is None else f" ({interval(low, high)})"


def gained(gain: float | None, measure: str, low: float | None, high: float | None) -> str:
    """A gain with its metric and interval: ``+4.38 mAP (11-point, IoU .5; 2.62 … 6.14)``."""
    ends = in_brackets(low, high)
    if ends and measure.endswith(")"):
        return f"{signed(gain)} {measure[:-1]}; {ends[2:]}"
    return f"{signed(gain)} {measure}{ends}"


def p_value(p: float) -> str:
    """Three decimals; ``< 0.001`` for less."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def count(number: int | str, thing: str) -> str:
    """``1 classifier``, ``2 classifiers``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
