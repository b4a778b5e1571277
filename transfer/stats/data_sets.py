"""Several data sets: ranks of the rows, and a gain over data sets.

A data set counts once, however many images or runs it has. Ranks follow Demsar (2006, Journal of
Machine Learning Research 7): Friedman's test, and a comparison of each row with the baseline. The
normal distribution that Bonferroni and Dunn use is poor for few data sets, so the distribution of
two rows' rank sums is computed exactly (Eisinga et al. 2017, BMC Bioinformatics 18). The gain is
that of a random-effects model, with the variance between data sets of Paule and Mandel (1982).
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transfer.stats.critical import LEVEL

FloatArray = npt.NDArray[np.float64]

FEWEST_DATA_SETS = 5
"""Fewer show neither ranks nor a spread between data sets."""


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of some rows over data sets; 1 is the best.

    Attributes:
        mean: (rows,) mean ranks, the baseline's first; rows with equal figures share a rank.
        p: (rows - 1,) p-values against the baseline, adjusted for all rows.
        critical: Least difference from the baseline's mean rank with an adjusted p of 5 % or less;
            None if the ranks of so few data sets cannot show any.
        overall: p-value of Friedman's test in the form of Iman and Davenport; None for two rows.
    """

    mean: FloatArray
    p: FloatArray
    critical: float | None
    overall: float | None


@dataclass(frozen=True)
class CombinedGain:
    """A gain over data sets, in points.

    Attributes:
        gain: Its estimate.
        low: Lower end of its interval.
        high: Upper end.
        spread: Standard deviation of the true gains between data sets.
    """

    gain: float
    low: float
    high: float
    spread: float


def rank(means: FloatArray) -> Ranks:
    """Compare the ranks of rows with the baseline's.

    Args:
        means: (data sets, rows) means in points, the baseline first; two rows or more.
    """
    from scipy import stats

    sets, rows = means.shape
    ranks = stats.rankdata(-means, axis=1)
    mean = ranks.mean(axis=0)
    apart = np.abs(mean[1:] - mean[0]) * sets
    tails = _tails(sets, rows) * (rows - 1)
    reached = np.flatnonzero(tails <= LEVEL)
    return Ranks(
        mean=mean,
        p=np.minimum(1.0, tails[np.ceil(apart - 1e-9).astype(int)]),
        critical=float(reached[0]) / sets if len(reached) else None,
        overall=_friedman(ranks) if rows > 2 else None,
    )


def combine(gains: FloatArray, errors: FloatArray, level: float = LEVEL) -> CombinedGain:
    """Estimate a row's gain over data sets, of which those measured are a sample.

    The interval is that of Hartung, Knapp, Sidik and Jonkman, never narrower than the variances
    allow (Roever, Knapp and Friede 2015, BMC Medical Research Methodology 15). With the variance of
    Paule and Mandel it is a t interval with one degree of freedom less than there are data sets.

    Args:
        gains: (data sets,) gains in points.
        errors: (data sets,) their standard errors; if one is 0, which means unknown, none is used,
            and the spread of the gains is that of everything that differs between data sets.
        level: Chance that the interval misses the true gain.
    """
    from scipy import optimize, special

    df = len(gains) - 1
    within = errors**2 if errors.all() else np.zeros(len(gains))
    most = float(gains.var(ddof=1))

    def excess(between: float) -> float:
        weights = 1 / (within + between)
        return float(weights @ (gains - weights @ gains / weights.sum()) ** 2) - df

    if not within.any():
        between = most
    elif excess(0.0) <= 0:
        between = 0.0
    else:
        between = float(optimize.brentq(excess, 0.0, most))
    total = within + between
    weights = 1 / total if total.all() else np.ones(len(gains))
    gain = float(weights @ gains / weights.sum())
    error = math.sqrt(float(weights**2 @ total)) / float(weights.sum())
    half = float(special.stdtrit(df, 1 - level / 2)) * error
    return CombinedGain(gain, gain - half, gain + half, math.sqrt(between))


def _tails(sets: int, rows: int) -> FloatArray:
    """Chance that the rank sums of two rows differ by 0, 1, … or more if all orders are equal.

    In one data set, two of k different ranks differ by d with the chance (k - |d|) / (k (k - 1)).
    """
    one = np.maximum(0.0, rows - np.abs(np.arange(1.0 - rows, rows))) / (rows * (rows - 1))
    one[rows - 1] = 0.0
    every = np.ones(1)
    for _ in range(sets):
        every = np.convolve(every, one)
    middle = len(every) // 2
    beyond: FloatArray = 2 * np.cumsum(every[: middle + 1])[::-1]
    return np.minimum(1.0, beyond)


def _friedman(ranks: FloatArray) -> float:
    """p-value of Iman and Davenport's F for ranks without ties, (data sets, rows)."""
    from scipy import special

    sets, rows = ranks.shape
    squares = float((ranks.mean(axis=0) ** 2).sum())
    chi2 = 12 * sets / (rows * (rows + 1)) * (squares - rows * (rows + 1) ** 2 / 4)
    left = sets * (rows - 1) - chi2
    if left <= 1e-9:  # the same order in all data sets
        return 0.0
    return float(special.fdtrc(rows - 1, (rows - 1) * (sets - 1), (sets - 1) * chi2 / left))
