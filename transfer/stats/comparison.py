"""The decision: which rows of one table differ from their baseline.

One method decides a whole table. The default is Dunnett's comparison, with the spread pooled over
the baseline and all rows. If one row's spread clearly exceeds the others (see :func:`spread_p`), or
spreads are of different kinds, Welch's t tests with Holm's correction replace it, and the result
says so.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from transfer.stats.dunnett import adjusted_p, critical_value

FloatArray = npt.NDArray[np.float64]
Verdict = Literal["gain", "loss", "inconclusive"]
Method = Literal["Dunnett", "Welch-Holm"]

FAMILY_LEVEL = 0.05
"""Chance of any false verdict in a table; the intervals hold together at one minus this."""

SPREAD_LEVEL = 0.05
"""Share of tables with equal spreads that the spread test sends to Welch's tests."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """One row against the baseline, in the metric's points.

    ``low`` and ``high`` bound the simultaneous 95 % interval and ``p`` is adjusted for the family.
    The verdict follows from the interval: a gain if it lies above zero. The interval is based on
    ``std_error`` with ``df`` degrees of freedom; ``sd`` is the standard deviation of a single unit
    behind it, sqrt((var_row + var_baseline) / 2), with ``sd_df``. ``dfs`` are the degrees of
    freedom of the baseline's and the row's variance, and ``share`` the row's share of both
    together; None if one variance is used for all.
    """

    gain: float
    low: float
    high: float
    p: float
    verdict: Verdict
    std_error: float
    df: float
    sd: float
    sd_df: float
    dfs: tuple[int, int] | None = None
    share: float | None = None


@dataclass(frozen=True)
class Comparison:
    """The verdicts of one table, in the order of its rows, with the method and its reason."""

    method: Method
    reason: str
    gains: tuple[Gain, ...]


@dataclass(frozen=True)
class _Group:
    """A row's units; its variance may be pooled with others, with their degrees of freedom."""

    n: int
    mean: float
    variance: float
    df: int


def compare(
    baseline: FloatArray,
    rows: Sequence[FloatArray],
    *,
    kinds: Sequence[Hashable] | None = None,
    spread_level: float = SPREAD_LEVEL,
) -> Comparison:
    """Compare every row of a table with the baseline.

    Args:
        baseline: (n_0,) values of the baseline's units, n_0 >= 2, not all equal.
        rows: for each of one or more rows (n_i,) values, n_i >= 2, not all equal.
        kinds: the kind of the baseline's spread and of each row's; None if all are of one kind.
            Only spreads of the same kind are pooled.
        spread_level: level of the spread test, in [0, 1]; 0 always keeps Dunnett's comparison.
    """
    groups = [_group(values) for values in (baseline, *rows)]
    if kinds is not None and len(set(kinds)) > 1:
        return Comparison(
            "Welch-Holm",
            "the rows' spreads are of different kinds (classifiers and fine-tunings)",
            _welch_holm(_pooled_by_kind(groups, kinds, spread_level)),
        )
    p = _spread_p(groups)
    if p < spread_level:
        reason = f"one spread clearly exceeds the others (Cochran's C, p = {p:.2g})"
        return Comparison("Welch-Holm", reason, _welch_holm(groups))
    reason = f"no spread clearly exceeds the others (Cochran's C, p = {p:.2g})"
    return Comparison("Dunnett", reason, _dunnett(groups))


def spread_p(sizes: Sequence[int], variances: Sequence[float]) -> float:
    """P-value of Cochran's C test: is the largest variance too large?

    An F test compares each variance with the pooled variance of all others, and the smallest
    p-value is multiplied by their number (Cochran 1941; 't Lam 2010, Analytica Chimica Acta 659,
    for unequal n). One noisy row is what breaks Dunnett's comparison, and this test detects it
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
    n = len(values)
    return _Group(n, float(np.mean(values)), float(np.var(values, ddof=1)), n - 1)


def _spread_p(groups: Sequence[_Group]) -> float:
    return spread_p([group.n for group in groups], [group.variance for group in groups])


def _pooled(groups: Sequence[_Group]) -> tuple[float, int]:
    """The variance of several groups together, and its degrees of freedom."""
    df = sum(group.df for group in groups)
    return sum(group.df * group.variance for group in groups) / df, df


def _pooled_by_kind(
    groups: Sequence[_Group], kinds: Sequence[Hashable], spread_level: float
) -> list[_Group]:
    """Groups with the pooled variance of their kind, except kinds where one spread is larger.

    Two or three units may be close together by chance. If each row used its own spread, such a row
    would be judged as if it had none, and up to a third of tables of six would have false verdicts.
    """
    found = list(groups)
    for kind in set(kinds):
        places = [place for place, own in enumerate(kinds) if own == kind]
        members = [groups[place] for place in places]
        if len(members) > 1 and _spread_p(members) >= spread_level:
            variance, df = _pooled(members)
            for place in places:
                found[place] = replace(groups[place], variance=variance, df=df)
    return found


def _dunnett(groups: Sequence[_Group]) -> tuple[Gain, ...]:
    baseline, *rows = groups
    sizes = tuple(row.n for row in rows)
    variance, df = _pooled(groups)
    sd = math.sqrt(variance)
    gains = [row.mean - baseline.mean for row in rows]
    errors = [sd * math.sqrt(1 / row.n + 1 / baseline.n) for row in rows]
    critical = critical_value(baseline.n, tuple(sorted(sizes)), FAMILY_LEVEL)
    p = adjusted_p(np.array(gains) / np.array(errors), baseline.n, sizes)
    results = []
    for i, (gain, error) in enumerate(zip(gains, errors, strict=True)):
        low, high = gain - critical * error, gain + critical * error
        results.append(
            Gain(
                gain=gain,
                low=low,
                high=high,
                p=float(p[i]),
                verdict=_verdict(low, high),
                std_error=error,
                df=df,
                sd=sd,
                sd_df=df,
            )
        )
    return tuple(results)


def _welch_holm(groups: Sequence[_Group]) -> tuple[Gain, ...]:
    """Welch's t tests, Holm's p-values, and intervals that do not contradict them.

    The intervals are Bonferroni's. If Holm's test, which is never stricter, has already decided the
    sign while Bonferroni's interval still includes zero, the interval is cut at zero: it then
    reads "above 0, and at most ...".
    """
    from scipy import special

    baseline, *rows = groups
    pairs = [_welch(baseline, row) for row in rows]
    raw = [2 * float(special.stdtr(df, -abs(gain) / error)) for gain, error, df in pairs]
    results = []
    for row, (gain, error, df), p in zip(rows, pairs, _holm(raw), strict=True):
        half = float(special.stdtrit(df, 1 - FAMILY_LEVEL / (2 * len(rows)))) * error
        low, high = gain - half, gain + half
        if p < FAMILY_LEVEL:
            low, high = (max(low, 0.0), high) if gain > 0 else (low, min(high, 0.0))
        both, dfs = baseline.variance + row.variance, (baseline.df, row.df)
        sd, sd_df = math.sqrt(both / 2), welch_df(baseline.variance, row.variance, *dfs)
        verdict, share = _verdict(low, high), row.variance / both
        results.append(
            Gain(
                gain=gain,
                low=low,
                high=high,
                p=p,
                verdict=verdict,
                std_error=error,
                df=df,
                sd=sd,
                sd_df=sd_df,
                dfs=dfs,
                share=share,
            )
        )
    return tuple(results)


def _welch(baseline: _Group, row: _Group) -> tuple[float, float, float]:
    """Gain, its standard error, and the degrees of freedom of that."""
    a, b = baseline.variance / baseline.n, row.variance / row.n
    return row.mean - baseline.mean, math.sqrt(a + b), welch_df(a, b, baseline.df, row.df)


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
    return "loss" if high <= 0 else "inconclusive"
