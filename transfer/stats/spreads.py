"""Spreads behind a table's gains, from its data or from simulated tables of the same design.

Two designs are known. With independent units, every row varies by itself. With **blocks**, unit s
of every row shares a seed: y_rs = mu_r + b_s + e_rs, and only e, what is left after rows and
blocks, is in a gain's error. The residual degrees of freedom are then k (n - 1) for k rows beside
the baseline and n blocks.

A gain's squared standard error is the largest of three:

* from the **pooled** spread of the baseline and all rows, as in Dunnett's comparison;
* ``ROW_PART`` times the one in which this row has its own spread, and the others are pooled;
* ``BASELINE_PART`` times the one in which the baseline has its own spread, if its variance is over
  ``BASELINE_RATIO`` times that of the pooled rows.

The critical value is calibrated for exactly this statistic under equal spreads
(:mod:`transfer.stats.critical`), where it is pivotal, so the level holds there. The second and the
third bound the harm of one noisy row or a noisy baseline. They need ``FEWEST_UNITS`` units in every
row; with fewer, the spread is pooled, which assumes equal spreads. docs/statistics.md compares
other choices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

FEWEST_UNITS = 5
ROW_PART = 0.75
BASELINE_PART = 1.25
BASELINE_RATIO = 3.0


@dataclass(frozen=True)
class Design:
    """The numbers of units of a table.

    Attributes:
        sizes: units of the baseline, then of one or more rows; 2 or more each. With blocks, all
            are equal.
        blocked: whether the i-th units of all rows share a block.
    """

    sizes: tuple[int, ...]
    blocked: bool = False

    @property
    def df(self) -> int:
        """Degrees of freedom of the pooled spread."""
        if self.blocked:
            return (len(self.sizes) - 1) * (self.sizes[0] - 1)
        return sum(self.sizes) - len(self.sizes)

    @property
    def robust(self) -> bool:
        """Whether rows have enough units to show that one spread differs from the others."""
        return min(self.sizes) >= FEWEST_UNITS


@dataclass(frozen=True)
class Spreads:
    """Variances of a unit in one or many tables of a design.

    Attributes:
        pooled: (tables,) pooled over baseline and rows.
        own: (tables, groups) of each group; with blocks it may be below zero by chance.
        rest: (tables, groups) pooled over all other groups.
    """

    pooled: FloatArray
    own: FloatArray
    rest: FloatArray


def of_independent(variances: FloatArray, sizes: Sequence[int]) -> Spreads:
    """Spreads from the groups' unbiased variances, (tables, groups)."""
    df = np.array(sizes) - 1.0
    squares = variances * df
    total = squares.sum(axis=-1, keepdims=True)
    pooled = total[..., 0] / df.sum()
    return Spreads(pooled, variances, (total - squares) / (df.sum() - df))


def of_blocks(variances: FloatArray, sums: FloatArray) -> Spreads:
    """Spreads of a blocked table, from the covariances between its groups over blocks.

    The variance of group i minus the mean of the other k groups is own_i + rest_i / k, where
    rest_i is the residual variance of the others alone.

    Args:
        variances: (tables, groups) variance of each group over blocks.
        sums: (tables, groups) sum of a group's covariances with all groups, itself included.
    """
    k = variances.shape[-1] - 1
    total = sums.sum(axis=-1, keepdims=True)
    pooled = (variances.sum(axis=-1) - total[..., 0] / (k + 1)) / k
    if k == 1:
        both = np.repeat(pooled[..., None], 2, axis=-1)
        return Spreads(pooled, both, both)
    a, b = 1 + 1 / k, 1 / k
    apart = a**2 * variances - 2 * a * b * sums + b**2 * total
    rest = (k * pooled[..., None] - apart * k / (k + 1)) / (k - 1)
    return Spreads(pooled, apart - rest / k, rest)


def squared_errors(spreads: Spreads, design: Design) -> FloatArray:
    """Squared standard errors of the gains, (tables, rows)."""
    parts = 1 / np.array(design.sizes)
    base, rows = parts[0], parts[1:]
    pooled: FloatArray = spreads.pooled[..., None] * (rows + base)
    if not design.robust:
        return pooled
    of_row = spreads.own[..., 1:] * rows + spreads.rest[..., 1:] * base
    own, rest = spreads.own[..., :1], spreads.rest[..., :1]
    of_baseline = np.where(own > BASELINE_RATIO * rest, own * base + rest * rows, 0.0)
    return np.maximum(pooled, np.maximum(ROW_PART * of_row, BASELINE_PART * of_baseline))


def of_table(values: Sequence[FloatArray], design: Design) -> Spreads:
    """Spreads of one measured table, with a leading axis of length 1.

    Args:
        values: (n_i,) units of the baseline, then of each row; with blocks, in one order.
        design: its design.
    """
    if not design.blocked:
        variances = np.array([[np.var(group, ddof=1) for group in values]])
        return of_independent(variances, design.sizes)
    covariances = np.cov(np.array(values))
    return of_blocks(np.diag(covariances)[None], covariances.sum(axis=1)[None])
