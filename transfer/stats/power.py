"""Plans: the gain that a design detects, and the units that a given gain needs.

"Found" means a verdict with the right sign. Effects are true gains in standard deviations of a
unit, after blocks where the design has them.
"""

import math
from collections.abc import Callable
from functools import lru_cache

from transfer.stats.critical import LEVEL, power
from transfer.stats.spreads import Design

POWER = 0.8
MAX_UNITS = 100


@lru_cache(maxsize=4096)
def smallest_effect(design: Design, row: int = 1, level: float = LEVEL) -> float:
    """Smallest true gain found with 80 % power, in standard deviations of a unit.

    Args:
        design: the design.
        row: position of the row in ``design.sizes``.
        level: family-wise error rate.
    """
    from scipy import optimize

    high = 1.0
    while power(high, design, row, level) < POWER:
        high *= 2
    return float(
        optimize.brentq(lambda effect: power(effect, design, row, level) - POWER, 0.0, high)
    )


@lru_cache(maxsize=4096)
def units_needed(effect: float, rows: int, blocked: bool = False) -> int | None:
    """Fewest units per row, baseline included, that find a gain with 80 % power.

    Args:
        effect: the true gain, in standard deviations of a unit; its sign does not matter.
        rows: rows compared with the baseline, 1 or more.
        blocked: whether rows share their seeds.

    Returns:
        A number of units, 2 or more; None if it is above :data:`MAX_UNITS`.
    """
    return _first(
        lambda n: power(abs(effect), Design((n,) * (rows + 1), blocked)) >= POWER, MAX_UNITS
    )


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
