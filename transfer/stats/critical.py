"""Critical values and power of a design, from simulated tables without any effect.

Under equal spreads, the largest of a table's gains over their standard errors has a distribution
that depends on the design alone. Given the standard errors and the baseline's mean, the rows are
independent, so the chance that none exceeds a bound is a product of normal probabilities:

    P(max |T_i| <= c) = E prod_i [Phi((m + c e_i) sqrt(n_i)) - Phi((m - c e_i) sqrt(n_i))]

Only the baseline's mean m and the standard errors e_i are drawn, with fixed random numbers. With a
single pooled spread this is Dunnett's distribution (Dunnett 1955, Journal of the American
Statistical Association 50), with which the tests compare.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from transfer.stats.spreads import Design, Spreads, of_blocks, of_independent, squared_errors

FloatArray = npt.NDArray[np.float64]

LEVEL = 0.05
"""Chance of any false verdict in a table; the intervals hold together at one minus this."""

TABLES = 50_000
PLANNING_TABLES = 10_000
"""For power and costs, which rest on an uncertain spread anyway."""

_NUMBERS_AT_ONCE = 4_000_000

_CACHED_NUMBERS = 2**14
"""Numbers in an array of which a few fit into a core's cache."""


@lru_cache(maxsize=1024)
def critical_value(design: Design, level: float = LEVEL, tables: int = TABLES) -> float:
    """Half-width of the simultaneous two-sided intervals, in standard errors.

    Args:
        design: the design; the order of its rows does not matter.
        level: family-wise error rate, in (0, 1).
        tables: tables to draw.
    """
    from scipy import optimize

    ordered = _sorted(design)
    high = 4.0
    while _exceeds(high, ordered, tables) > level:
        high *= 2
    found = optimize.brentq(lambda c: _exceeds(c, ordered, tables) - level, 0.5, high, xtol=1e-6)
    return float(found)


def adjusted_p(statistics: FloatArray, design: Design) -> FloatArray:
    """Two-sided p-values of gains over their standard errors, (rows,), adjusted for all rows."""
    return np.array([_exceeds(abs(float(t)), _sorted(design), TABLES) for t in statistics])


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
    drawn = standard_errors(ordered, PLANNING_TABLES)
    errors = drawn[:, ordered.sizes[1:].index(design.sizes[row])]
    critical = critical_value(ordered, level, PLANNING_TABLES)
    true = math.sqrt(1 / design.sizes[0] + 1 / design.sizes[row])
    return float(np.mean(special.ndtr((effect - critical * errors) / true)))


@lru_cache(maxsize=64)
def standard_errors(design: Design, tables: int) -> FloatArray:
    """Standard errors of the gains in tables with a spread of 1, (tables, rows).

    The pooled variance is independent of how the others compare with it (Basu's theorem), so it
    takes one value from each of as many equally likely intervals, and only the rest is random.
    """
    from scipy import special

    rng = np.random.default_rng(0)
    at_once = max(1000, _NUMBERS_AT_ONCE // len(design.sizes) ** 2)
    starts = range(0, tables, at_once)
    spreads = (_drawn(rng, design, min(at_once, tables - start)) for start in starts)
    relative = np.concatenate(
        [squared_errors(one, design) / one.pooled[:, None] for one in spreads]
    )
    places = (np.arange(tables) + 0.5) / tables
    pooled = 2 * special.gammaincinv(design.df / 2, places) / design.df
    errors: FloatArray = np.sqrt(pooled[:, None] * relative)
    return errors


def _exceeds(bound: float, design: Design, tables: int) -> float:
    """Chance that a gain over its standard error exceeds a bound, by the module's formula."""
    from scipy import special

    errors = standard_errors(design, tables)
    means = _baseline_means(tables)[:, None] / math.sqrt(design.sizes[0])
    scale = np.sqrt(design.sizes[1:])
    at_once = max(1, _CACHED_NUMBERS // len(scale))
    held = 0.0
    for start in range(0, tables, at_once):
        mean, reach = means[start : start + at_once], bound * errors[start : start + at_once]
        inside = special.ndtr((mean + reach) * scale) - special.ndtr((mean - reach) * scale)
        held += float(inside.prod(axis=1).sum())
    return 1.0 - held / tables


@lru_cache(maxsize=4)
def _baseline_means(tables: int) -> FloatArray:
    """Standard normal values that fill the plane evenly with the pooled variances of the tables."""
    from scipy import special

    golden = (math.sqrt(5) - 1) / 2
    values: FloatArray = special.ndtri((np.arange(tables) * golden + 0.5) % 1)
    return values


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
