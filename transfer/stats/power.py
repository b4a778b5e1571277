"""Power of a design: the detectable gain, and the units needed to detect a given gain.

"Found" means a verdict with the right sign, by the table's method: Dunnett's comparison of k rows
with one baseline, or Welch's tests at Holm's first (strictest) step. Where Where Dunnett's
comparison decides, the small share of tables that the spread test would send to Welch's tests is
included, so the figures hold for the whole procedure.

Effects are true gains in standard deviations of a unit: sqrt((var_row + var_baseline) / 2).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from transfer.stats.comparison import FAMILY_LEVEL, SPREAD_LEVEL, welch_df
from transfer.stats.dunnett import critical_value, degrees_of_freedom

FloatArray = npt.NDArray[np.float64]

POWER = 0.8
MAX_UNITS = 100
_RATIO_NODES = 24


@dataclass(frozen=True, kw_only=True)
class Design:
    """The numbers of units of a baseline and its rows, and the pooling of spreads.

    ``row`` is the size of the row in question and ``family`` the sizes of all compared rows,
    including this one; all sizes are 2 or more. ``share`` is None if Dunnett's comparison uses one
    spread for all; otherwise it is the row's share in (0, 1) of the variance of row and baseline
    together. ``dfs`` are the degrees of freedom of the baseline's and the row's variance if these
    are pooled with others of their kind; None if each is separate.
    """

    baseline: int
    row: int
    family: tuple[int, ...]
    share: float | None = None
    dfs: tuple[int, int] | None = None


def power(effect: float, design: Design) -> float:
    """Chance that a true gain is called a gain.

    Args:
        effect: the true gain, in standard deviations of a unit, 0 or more.
        design: the sizes of the table.
    """
    if design.share is not None:
        return _welch_power(effect, design, design.share)
    shift = effect / math.sqrt(1 / design.row + 1 / design.baseline)
    critical = critical_value(design.baseline, design.family, FAMILY_LEVEL)
    df = degrees_of_freedom(design.baseline, design.family)
    dunnett = float(_beyond(np.array([critical]), df, shift)[0])
    return (1 - SPREAD_LEVEL) * dunnett + SPREAD_LEVEL * _welch_power(effect, design, 0.5)


@lru_cache(maxsize=4096)
def smallest_effect(design: Design) -> float:
    """Smallest true gain found with 80 % power, in standard deviations of a unit."""
    from scipy import optimize

    high = 1.0
    while power(high, design) < POWER:
        high *= 2
    return float(optimize.brentq(lambda effect: power(effect, design) - POWER, 0.0, high))


@lru_cache(maxsize=4096)
def units_needed(
    effect: float, rows: int, share: float | None = None, pooled: tuple[int, int] = (1, 1)
) -> int | None:
    """Fewest units per row, baseline included, that find a gain with 80 % power.

    Args:
        effect: the true gain, in standard deviations of a unit; its sign does not matter.
        rows: rows compared with the baseline, 1 or more.
        share: see :class:`Design`.
        pooled: numbers of rows that share the baseline's variance (itself included) and the row's.

    Returns:
        A number of units, 2 or more; None if it is above :data:`MAX_UNITS`.
    """

    def enough(n: int) -> bool:
        dfs = pooled[0] * (n - 1), pooled[1] * (n - 1)
        return (
            power(abs(effect), Design(baseline=n, row=n, family=(n,) * rows, share=share, dfs=dfs))
            >= POWER
        )

    return _first(enough, MAX_UNITS)


def sd_interval(sd: float, df: float) -> tuple[float, float]:
    """95 % interval of a standard deviation estimated with ``df`` degrees of freedom."""
    from scipy import special

    low = sd * math.sqrt(df / (2 * float(special.gammainccinv(df / 2, 0.025))))
    high = sd * math.sqrt(df / (2 * float(special.gammaincinv(df / 2, 0.025))))
    return low, high


def _first(enough: Callable[[int], bool], largest: int) -> int | None:
    """The smallest n from 2 to ``largest`` with ``enough(n)``, which is monotone in n."""
    high = 2
    while not enough(high):
        if high == largest:
            return None
        high = min(2 * high, largest)
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _welch_power(effect: float, design: Design, share: float) -> float:
    """Power of Welch's t test at the level FAMILY_LEVEL / rows, exact for normal values.

    With G = chi^2 of all degrees of freedom and an independent B ~ Beta of their halves, the two
    sample variances are share * G B / df_row and (1 - share) * G (1 - B) / df_base. Given B,
    Welch's degrees of freedom are fixed and the statistic is a scaled noncentral t, so one integral
    over B remains, computed by Gauss-Jacobi quadrature.
    """
    from scipy import special

    df_base, df_row = design.dfs or (design.baseline - 1, design.row - 1)
    part, weight = _beta_quadrature(df_row, df_base)
    a = share * part / df_row / design.row
    b = (1 - share) * (1 - part) / df_base / design.baseline
    error = share / design.row + (1 - share) / design.baseline
    df = welch_df(a, b, df_row, df_base)
    critical = special.stdtrit(df, 1 - FAMILY_LEVEL / (2 * len(design.family)))
    scale = np.sqrt((a + b) * (df_row + df_base) / error)
    shift = effect / math.sqrt(2 * error)
    return float(weight @ _beyond(critical * scale, df_row + df_base, shift))


@lru_cache(maxsize=4096)
def _beta_quadrature(df_row: int, df_base: int) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of the mean over B ~ Beta(df_row / 2, df_base / 2)."""
    from scipy import special

    nodes, weights = special.roots_jacobi(_RATIO_NODES, df_base / 2 - 1, df_row / 2 - 1)
    return (nodes + 1) / 2, weights / weights.sum()


def _beyond(critical: FloatArray, df: float, shift: float) -> FloatArray:
    """P(T > critical) for t statistics with a numerator shifted by ``shift``."""
    from scipy import special

    below = special.nctdtr(df, shift, critical)
    # SciPy gives no number if the shift is so large that nothing lies below.
    result: FloatArray = 1.0 - np.where(np.isnan(below) & (critical < shift), 0.0, below)
    return result
