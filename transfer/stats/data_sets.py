"""Several data sets: ranks of the rows, and a gain over data sets.

A data set counts once, however many images or runs it has. Ranks follow Demsar (2006, Journal of
Machine Learning Research 7): Friedman's test, and a comparison of each row with the baseline. The
normal distribution that Bonferroni and Dunn use is poor for few data sets, so the distribution of
two rows' rank sums is computed exactly (Eisinga et al. 2017, BMC Bioinformatics 18). The gain is
that of a random-effects model.
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
        spread: Standard deviation of the true gains between data sets; with the noise of the
            measured gains where their standard errors are unknown.
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

    Two levels: the true gain on a data set varies between data sets, and the measured one varies
    about it. All data sets have one weight, since weights from the standard errors of a few units
    would be too uncertain. So the interval is the t interval of the gains, whatever both spreads
    are, and the spread between data sets is what is left of theirs (Hedges 1983, Psychological
    Bulletin 93).

    Args:
        gains: (data sets,) gains in points, 2 or more.
        errors: (data sets,) their standard errors; 0 where they are unknown.
        level: Chance that the interval misses the true gain.
    """
    from scipy import special

    count, variance = len(gains), float(gains.var(ddof=1))
    gain = float(gains.mean())
    half = float(special.stdtrit(count - 1, 1 - level / 2)) * math.sqrt(variance / count)
    between = max(0.0, variance - float((errors**2).mean()))
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
