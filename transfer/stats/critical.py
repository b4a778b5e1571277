"""Critical values and power of a design, from simulated tables without any effect.

Under equal spreads, the largest of a table's gains over their standard errors has a distribution
that depends on the design alone. It is drawn here, with fixed random numbers: with 200,000 tables,
a level of 5 % is met to .05 points, and a critical value to .2 %. With a single pooled spread it
is Dunnett's distribution (Dunnett 1955, Journal of the American Statistical Association 50), with
which the tests compare.
"""

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from transfer.stats.spreads import Design, Spreads, of_blocks, of_independent, squared_errors

FloatArray = npt.NDArray[np.float64]

LEVEL = 0.05
"""Chance of any false verdict in a table; the intervals hold together at one minus this."""

TABLES = 200_000
PLANNING_TABLES = 20_000
"""For power and costs, which rest on an uncertain spread anyway."""

_NUMBERS_AT_ONCE = 4_000_000


def critical_value(design: Design, level: float = LEVEL) -> float:
    """Half-width of the simultaneous two-sided intervals, in standard errors.

    Args:
        design: the design; the order of its rows does not matter.
        level: family-wise error rate, in (0, 1).
    """
    return float(np.quantile(_largest(_sorted(design), TABLES), 1 - level))


def adjusted_p(statistics: FloatArray, design: Design) -> FloatArray:
    """Two-sided p-values of gains over their standard errors, adjusted for all rows.

    Returns:
        (rows,) in (0, 1], in steps of 1 / 200,000.
    """
    largest = _largest(_sorted(design), TABLES)
    above = TABLES - np.searchsorted(largest, np.abs(statistics))
    result: FloatArray = (above + 1.0) / (TABLES + 1.0)
    return result


def power(effect: float, design: Design, row: int = 1, level: float = LEVEL) -> float:
    """Chance that a true gain is called a gain, at equal spreads.

    Args:
        effect: the true gain, in standard deviations of a unit, 0 or more.
        design: the design.
        row: position of the row in ``design.sizes``, 1 or more.
        level: family-wise error rate.
    """
    from scipy import special

    ordered = _sorted(design)
    errors = _errors(ordered, PLANNING_TABLES)[:, ordered.sizes[1:].index(design.sizes[row])]
    critical = float(np.quantile(_largest(ordered, PLANNING_TABLES), 1 - level))
    true = math.sqrt(1 / design.sizes[0] + 1 / design.sizes[row])
    return float(np.mean(special.ndtr((effect - critical * errors) / true)))


def draws(design: Design, tables: int) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Gains and their standard errors in tables without effects, at a spread of 1.

    Yields:
        (some, rows) gains and (some, rows) standard errors, until there are ``tables``.
    """
    rng = np.random.default_rng(0)
    at_once = max(1000, _NUMBERS_AT_ONCE // len(design.sizes) ** 2)
    for start in range(0, tables, at_once):
        some = min(at_once, tables - start)
        means = rng.standard_normal((some, len(design.sizes))) / np.sqrt(design.sizes)
        spreads = _drawn(rng, design, some)
        yield means[:, 1:] - means[:, :1], np.sqrt(squared_errors(spreads, design))


def _drawn(rng: np.random.Generator, design: Design, tables: int) -> Spreads:
    if design.blocked:
        return of_blocks(*_wishart(rng, len(design.sizes), design.sizes[0] - 1, tables))
    df = np.array(design.sizes) - 1.0
    return of_independent(rng.chisquare(df, size=(tables, len(df))) / df, design.sizes)


def _wishart(
    rng: np.random.Generator, groups: int, df: int, tables: int
) -> tuple[FloatArray, FloatArray]:
    """Diagonals and row sums of sample covariances of independent groups (Bartlett 1933).

    A covariance is L L' / df, with independent normal values below L's diagonal, chi values on it,
    and no more columns than degrees of freedom.
    """
    columns = min(groups, df)
    lower = np.zeros((tables, groups, columns))
    for column in range(columns):
        lower[:, column, column] = np.sqrt(rng.chisquare(df - column, size=tables))
        lower[:, column + 1 :, column] = rng.standard_normal((tables, groups - column - 1))
    diagonal = (lower**2).sum(axis=2) / df
    sums = np.einsum("tgc,tc->tg", lower, lower.sum(axis=1)) / df
    return diagonal, sums


def _sorted(design: Design) -> Design:
    return Design((design.sizes[0], *sorted(design.sizes[1:])), design.blocked)


@lru_cache(maxsize=64)
def _largest(design: Design, tables: int) -> FloatArray:
    """The largest statistic of each table, in ascending order."""
    found = [np.abs(gains / errors).max(axis=1) for gains, errors in draws(design, tables)]
    return np.sort(np.concatenate(found))


@lru_cache(maxsize=64)
def _errors(design: Design, tables: int) -> FloatArray:
    return np.concatenate([errors for _, errors in draws(design, tables)])
