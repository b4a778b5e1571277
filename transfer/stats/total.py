"""One interval for classifiers, seeds and test images together, and the best number of seeds."""

import math
from typing import Any

import numpy as np

from transfer.stats.critical import LEVEL

Ends = tuple[Any, Any]


def total_interval(gain: Any, units: Ends, images: Ends, rows: int) -> Ends:
    """Interval of a gain over other classifiers, seeds and test images.

    The two sources are independent: the units of a table share its test images, so their spread has
    none of the images' noise. The distances of both intervals' ends from the gain are added in
    quadrature, which recovers the variances where the limits need them (Zou and Donner 2008,
    Statistics in Medicine 27).

    Args:
        gain: the gain in points, or an array of gains; then all ends are arrays too.
        units: its interval over classifiers and seeds, simultaneous for all rows.
        images: its 95 % interval over test images, of this row alone.
        rows: rows of the family; the images' interval is widened to hold for all of them.
    """
    from scipy import special

    level = 1 - LEVEL / 2
    wider = float(special.ndtri(1 - LEVEL / (2 * rows)) / special.ndtri(level))
    low = np.hypot(gain - units[0], wider * np.maximum(0.0, gain - images[0]))
    high = np.hypot(units[1] - gain, wider * np.maximum(0.0, images[1] - gain))
    return gain - low, gain + high


def best_fine_tunings(within: float, between: float, cost_ratio: float) -> float:
    """Fine-tunings of each classifier that give the most precise mean for their cost.

    Of C classifiers with m fine-tunings each, the mean has the variance (b^2 + w^2 / m) / C and
    costs C (r + m) fine-tunings, so m* = sqrt(r w^2 / b^2).

    Args:
        within: standard deviation of fine-tunings of one classifier, w.
        between: standard deviation between classifiers, b, above zero.
        cost_ratio: cost of training one classifier in fine-tunings, r, 0 or more.
    """
    return math.sqrt(cost_ratio) * within / between
