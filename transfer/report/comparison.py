"""The decision: which rows of one table differ from their baseline.

One method decides a whole table. Dunnett's comparison, with the spread pooled over the baseline
and all rows, is the rule. Where one row's spread plainly exceeds the others' (see
:func:`spread_p`), Welch's t tests with Holm's correction replace it, and the result says so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from transfer.report.dunnett import adjusted_p, critical_value, degrees_of_freedom

FloatArray = npt.NDArray[np.float64]
Verdict = Literal["gain", "loss", "cannot tell"]
Method = Literal["Dunnett", "Welch-Holm"]

FAMILY_LEVEL = 0.05
"""Chance of one or more false verdicts in a table; the intervals hold together at one minus it."""

SPREAD_LEVEL = 0.05
"""Share of tables with equal spreads that the spread test sends to Welch's tests."""


@dataclass(frozen=True)
class Gain:
    """One row against the baseline, in the metric's points.

    ``low`` and ``high`` bound the simultaneous 95 % interval and ``p`` is adjusted for the family.
    The verdict is read off the interval: a gain where it lies above zero. ``std_error``, ``df``
    and ``sd`` (of a single unit, as the method pools it) are what the interval was made of.
    """

    gain: float
    low: float
    high: float
    p: float
    verdict: Verdict
    std_error: float
    df: float
    sd: float


@dataclass(frozen=True)
class Comparison:
    """The verdicts of one table, in the order of its rows, with the method and why it was taken."""

    method: Method
    reason: str
    gains: tuple[Gain, ...]


@dataclass(frozen=True)
class _Group:
    n: int
    mean: float
    variance: float


def compare(
    baseline: FloatArray,
    rows: Sequence[FloatArray],
    *,
    may_pool: bool = True,
    spread_level: float = SPREAD_LEVEL,
) -> Comparison:
    """Compare every row of a table with the baseline.

    Args:
        baseline: (n_0,) values of the baseline's units, n_0 >= 2, not all equal.
        rows: for each of one or more rows (n_i,) values, n_i >= 2, not all equal.
        may_pool: False where the rows' spreads are not of one kind and so share no pool.
        spread_level: level of the spread test, in [0, 1]; 0 never leaves Dunnett's comparison.
    """
    control, groups = _group(baseline), [_group(row) for row in rows]
    if not may_pool:
        return Comparison(
            "Welch-Holm",
            "the rows' spreads are not of one kind (classifiers here, fine-tunings there)",
            _welch_holm(control, groups),
        )
    p = spread_p([g.n for g in (control, *groups)], [g.variance for g in (control, *groups)])
    if p < spread_level:
        reason = f"one spread plainly exceeds the others (Cochran's C, p = {p:.2g})"
        return Comparison("Welch-Holm", reason, _welch_holm(control, groups))
    reason = f"no spread plainly exceeds the others (Cochran's C, p = {p:.2g})"
    return Comparison("Dunnett", reason, _dunnett(control, groups))


def spread_p(sizes: Sequence[int], variances: Sequence[float]) -> float:
    """P-value of Cochran's C test: is the largest variance too large for its company?

    Each variance is set against the pooled variance of all others by an F test, and the smallest
    p-value is multiplied by their number (Cochran 1941; 't Lam 2010, Analytica Chimica Acta 659,
    for unequal n). One noisy row is what breaks Dunnett's comparison, and what this test sees
    best: at three to ten seeds it finds a threefold spread more often than Bartlett's test, and
    far more often than Brown and Forsythe's (docs/statistics.md has the shares).

    Args:
        sizes: units of each group, 2 or more each.
        variances: unbiased variances of the same groups, above zero.
    """
    from scipy import special

    df = np.asarray(sizes, dtype=float) - 1
    squares = df * np.asarray(variances)
    rest_df = df.sum() - df
    ratio = np.asarray(variances) / ((squares.sum() - squares) / rest_df)
    return min(1.0, len(df) * float(special.fdtrc(df, rest_df, ratio).min()))


def _group(values: FloatArray) -> _Group:
    return _Group(len(values), float(np.mean(values)), float(np.var(values, ddof=1)))


def _dunnett(baseline: _Group, rows: Sequence[_Group]) -> tuple[Gain, ...]:
    sizes = tuple(row.n for row in rows)
    df = degrees_of_freedom(baseline.n, sizes)
    sd = math.sqrt(sum((g.n - 1) * g.variance for g in (baseline, *rows)) / df)
    gains = [row.mean - baseline.mean for row in rows]
    errors = [sd * math.sqrt(1 / row.n + 1 / baseline.n) for row in rows]
    critical = critical_value(baseline.n, tuple(sorted(sizes)), FAMILY_LEVEL)
    p = adjusted_p(np.array(gains) / np.array(errors), baseline.n, sizes)
    results = []
    for i, (gain, error) in enumerate(zip(gains, errors, strict=True)):
        low, high = gain - critical * error, gain + critical * error
        results.append(Gain(gain, low, high, float(p[i]), _verdict(low, high), error, df, sd))
    return tuple(results)


def _welch_holm(baseline: _Group, rows: Sequence[_Group]) -> tuple[Gain, ...]:
    """Welch's t tests, Holm's p-values, and intervals that never contradict them.

    The intervals are Bonferroni's. Where Holm, who is never stricter, has already told the sign
    while Bonferroni's interval still reaches over zero, the interval is cut at zero: it then
    reads "above 0, and at most ...".
    """
    from scipy import special

    pairs = [_welch(baseline, row) for row in rows]
    raw = [2 * float(special.stdtr(df, -abs(gain) / error)) for gain, error, df in pairs]
    results = []
    for row, (gain, error, df), p in zip(rows, pairs, _holm(raw), strict=True):
        half = float(special.stdtrit(df, 1 - FAMILY_LEVEL / (2 * len(rows)))) * error
        low, high = gain - half, gain + half
        if p < FAMILY_LEVEL:
            low, high = (max(low, 0.0), high) if gain > 0 else (low, min(high, 0.0))
        sd = math.sqrt((baseline.variance + row.variance) / 2)
        results.append(Gain(gain, low, high, p, _verdict(low, high), error, df, sd))
    return tuple(results)


def _welch(baseline: _Group, row: _Group) -> tuple[float, float, float]:
    """Gain, its standard error, and Welch-Satterthwaite degrees of freedom."""
    a, b = baseline.variance / baseline.n, row.variance / row.n
    df = (a + b) ** 2 / (a**2 / (baseline.n - 1) + b**2 / (row.n - 1))
    return row.mean - baseline.mean, math.sqrt(a + b), df


def _holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for step, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - step) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def _verdict(low: float, high: float) -> Verdict:
    if low >= 0:
        return "gain"
    return "loss" if high <= 0 else "cannot tell"
