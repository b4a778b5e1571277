"""Synthetic tables whose truth is known. Values are normal, the spread of a unit is 1."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transfer.stats.critical import LEVEL, critical_value
from transfer.stats.looks import statistics
from transfer.stats.spreads import Design

FloatArray = npt.NDArray[np.float64]

UNITS = (3, 5, 10)


def tables_of(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    *,
    icc: float = 0.0,
    interaction: float = 0.0,
    noisy: Sequence[int] = (),
) -> FloatArray:
    """Synthetic tables without gains, the baseline first.

    Args:
        rng: source of the values.
        shape: tables, groups and units.
        icc: share of a unit's variance that its seed adds to all rows alike, in [0, 1).
        interaction: variance, beside the 1 of a unit, that a seed adds to each row by itself.
        noisy: groups with three times the spread.
    """
    tables, _, units = shape
    rest = rng.standard_normal(shape) * np.sqrt(1 - icc + interaction)
    rest[:, list(noisy)] *= 3
    shared: FloatArray = rng.standard_normal((tables, 1, units)) * np.sqrt(icc)
    return rest + shared


def judged(values: FloatArray, blocked: bool) -> tuple[float, float, FloatArray]:
    """Share of tables with a verdict, mean half-width, and the half-widths, (tables, rows)."""
    gains, errors = statistics(values, blocked)
    half = critical_value(Design((values.shape[2],) * values.shape[1], blocked)) * errors
    return float((np.abs(gains) >= half).any(axis=1).mean()), float(half.mean()), half


def dunnett(rows: int, df: float) -> float:
    """Critical value of Dunnett's comparison with one pooled spread and as many units in each row.

    Args:
        rows: rows beside the baseline.
        df: degrees of freedom of the pooled spread.
    """
    from scipy import optimize, special

    places = (np.arange(20_000) + 0.5) / 20_000
    pooled = np.sqrt(4 * special.gammaincinv(df / 2, places) / df)
    mean = special.ndtri((np.arange(20_000) * (np.sqrt(5) - 1) / 2 + 0.5) % 1)

    def excess(bound: float) -> float:
        reach = bound * pooled
        inside = special.ndtr(mean + reach) - special.ndtr(mean - reach)
        return float(1 - (inside**rows).mean()) - LEVEL

    return float(optimize.brentq(excess, 1.0, 100.0))


def pooled(values: FloatArray) -> tuple[float, float, FloatArray]:
    """The same for Dunnett's comparison with one pooled spread and no blocks, for comparison."""
    groups, count = values.shape[1:]
    spread = np.sqrt(values.var(axis=2, ddof=1).mean(axis=1, keepdims=True))
    critical = dunnett(groups - 1, groups * (count - 1))
    gains = values[:, 1:].mean(axis=2) - values[:, :1].mean(axis=2)
    half = np.repeat(critical * spread * np.sqrt(2 / count), groups - 1, axis=1)
    return float((np.abs(gains) >= half).any(axis=1).mean()), float(half.mean()), half


def found(values: FloatArray, half: FloatArray, gain: float) -> float:
    """Share of tables in which the first row's true gain is found."""
    gains = values[:, 1].mean(axis=1) - values[:, 0].mean(axis=1) + gain
    return float((gains >= half[:, 0]).mean())
