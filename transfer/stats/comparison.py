"""The decision: which rows of one table differ from their baseline.

One procedure decides every table whose spreads are of one kind: simultaneous intervals with the
standard errors of :mod:`transfer.stats.spreads` and a critical value calibrated for them. Spreads
of different kinds, of recipes and of given weights, are never equal, so Welch's t tests with
Bonferroni's correction compare those. The design decides, never a look at the data.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from transfer.stats.critical import LEVEL, adjusted_p, critical_value
from transfer.stats.spreads import Design, of_table, squared_errors

FloatArray = npt.NDArray[np.float64]
Method = Literal["Dunnett", "blocked Dunnett", "Welch-Bonferroni"]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """One row against the baseline, in the metric's points.

    ``low`` and ``high`` bound the simultaneous interval, and the verdict follows from it. ``p`` is
    adjusted for the family. ``sd`` is the standard deviation of a unit behind ``std_error``, row
    and baseline taken together, with ``df`` degrees of freedom.
    """

    gain: float
    low: float
    high: float
    p: float
    verdict: str
    std_error: float
    df: float
    sd: float


def compare(
    baseline: FloatArray,
    rows: Sequence[FloatArray],
    *,
    blocked: bool = False,
    level: float = LEVEL,
    margin: float | None = None,
) -> tuple[Gain, ...]:
    """Compare every row of a table with the baseline; all spreads are of one kind.

    Args:
        baseline: (n_0,) values of the baseline's units, n_0 >= 2.
        rows: for each of one or more rows (n_i,) values, n_i >= 2, not all equal; with blocks in
            the baseline's order.
        blocked: whether the i-th units of all rows share a block.
        level: chance of any false verdict, in (0, 1).
        margin: largest difference, in points, that does not matter; None if none was fixed.
    """
    values = [baseline, *rows]
    design = Design(tuple(map(len, values)), blocked)
    errors = np.sqrt(squared_errors(of_table(values, design), design))[0]
    errors = np.maximum(errors, np.finfo(float).tiny)
    gains = np.array([row.mean() for row in rows]) - baseline.mean()
    reach = critical_value(design, level) * errors
    p = adjusted_p(gains / errors, design)
    results = []
    for i, row in enumerate(rows):
        low, high = float(gains[i] - reach[i]), float(gains[i] + reach[i])
        results.append(
            Gain(
                gain=float(gains[i]),
                low=low,
                high=high,
                p=float(p[i]),
                verdict=verdict(low, high, margin),
                std_error=float(errors[i]),
                df=design.df,
                sd=float(errors[i]) / math.sqrt(1 / len(row) + 1 / len(baseline)),
            )
        )
    return tuple(results)


def compare_kinds(
    baseline: FloatArray,
    rows: Sequence[FloatArray],
    kinds: Sequence[Hashable],
    *,
    level: float = LEVEL,
    margin: float | None = None,
) -> tuple[Gain, ...]:
    """Compare rows whose spreads are of different kinds; those of one kind are pooled.

    Two or three units may be close together by chance, so each row's own spread would be judged as
    if it had none.

    Args:
        baseline: as for :func:`compare`.
        rows: likewise.
        kinds: the kind of the baseline's spread and of each row's.
        level: as for :func:`compare`.
        margin: likewise.
    """
    from scipy import special

    pools: dict[Hashable, list[FloatArray]] = {}
    for kind, values in zip(kinds, (baseline, *rows), strict=True):
        pools.setdefault(kind, []).append(values)
    pooled = {kind: _pooled(several) for kind, several in pools.items()}
    base, base_df = pooled[kinds[0]]
    results = []
    for kind, values in zip(kinds[1:], rows, strict=True):
        variance, df = pooled[kind]
        a, b = variance / len(values), base / len(baseline)
        gain, error = values.mean() - baseline.mean(), math.sqrt(a + b)
        error_df = float(welch_df(a, b, df, base_df)) if kind != kinds[0] else float(df)
        half = float(special.stdtrit(error_df, 1 - level / (2 * len(rows)))) * error
        p = 2 * float(special.stdtr(error_df, -abs(gain) / error)) * len(rows)
        low, high = float(gain - half), float(gain + half)
        results.append(
            Gain(
                gain=float(gain),
                low=low,
                high=high,
                p=min(1.0, p),
                verdict=verdict(low, high, margin),
                std_error=error,
                df=error_df,
                sd=math.sqrt((variance + base) / 2),
            )
        )
    return tuple(results)


def verdict(low: float, high: float, margin: float | None = None) -> str:
    """The verdict of an interval: two one-sided tests where it may show that no gain matters.

    Args:
        low: lower end of the interval.
        high: its upper end.
        margin: largest difference that does not matter; None if none was fixed beforehand.
    """
    if low >= 0:
        return "gain"
    if high <= 0:
        return "loss"
    if margin is not None and -margin <= low and high <= margin:
        return f"no gain beyond ±{margin:g}"
    return "inconclusive"


def welch_df(a: Any, b: Any, a_df: int, b_df: int) -> Any:
    """Degrees of freedom of the sum of two variances (Welch and Satterthwaite).

    Their formula trusts the given variances. That of two units alone is not reliable: if it is near
    zero by chance, it would take over the other's degrees of freedom. So if either side has one
    degree of freedom, the result is one.

    Args:
        a: a variance, above zero; or an array of them.
        b: another, likewise.
        a_df: degrees of freedom of the first, 1 or more.
        b_df: degrees of freedom of the second.
    """
    if min(a_df, b_df) == 1:
        return np.ones_like(a + b)[()]
    return (a + b) ** 2 / (a**2 / a_df + b**2 / b_df)


def _pooled(groups: Sequence[FloatArray]) -> tuple[float, int]:
    """The variance of several groups together, and its degrees of freedom."""
    df = sum(len(group) - 1 for group in groups)
    return float(sum(((group - group.mean()) ** 2).sum() for group in groups)) / df, df
