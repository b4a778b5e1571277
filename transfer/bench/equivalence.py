"""Do the default path and stock training give the same results? Paired runs, and an interval.

Both sides start from the same weights and see the same images in the same order with the same
draws; what differs is this project's own arithmetic, the default precision included. They count as
equivalent where the 90 % interval of the mean difference lies within half a point (two one-sided
tests at 5 %).
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from scipy import stats

from backbones.errors import UserError
from transfer.bench.pairs import Run, Work, run_side

MARGIN = 0.5
"""Points."""

_COVERAGE = 0.90


@dataclass(frozen=True)
class Difference:
    """Ours minus stock, over seeds.

    Attributes:
        values: In points, seed by seed.
        mean: Of them.
        low: Lower end of the 90 % interval of the mean.
        high: Upper end.
    """

    values: tuple[float, ...]
    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """What the interval says."""
        if self.low >= -MARGIN and self.high <= MARGIN:
            return "equivalent"
        if self.low > MARGIN or self.high < -MARGIN:
            return "different"
        return "cannot tell"


def difference(ours: Sequence[float], stock: Sequence[float]) -> Difference:
    """The paired difference and Student's interval of its mean.

    Args:
        ours: Metrics in percent, a seed each.
        stock: Of the same seeds.

    Raises:
        UserError: Fewer than two seeds, or a metric that is no number.
    """
    values = tuple(a - b for a, b in zip(ours, stock, strict=True))
    if len(values) < 2 or not all(math.isfinite(value) for value in values):
        raise UserError(
            "An interval needs two seeds with finite metrics; give --pairs 2 or more, and enough "
            "training for the metric to be a number."
        )
    mean = statistics.mean(values)
    error = statistics.stdev(values) / math.sqrt(len(values))
    reach = float(stats.t.ppf((1 + _COVERAGE) / 2, len(values) - 1)) * error
    return Difference(values, mean, mean - reach, mean + reach)


def runs(work: Work, seeds: int, told: Callable[[Work, Run], None]) -> Iterator[tuple[Run, Run]]:
    """Both sides for each seed from 0 on; ours first.

    Raises:
        UserError: A side failed.
    """
    for seed in range(seeds):
        done = []
        for side in ("ours", "stock"):
            asked = dataclasses.replace(work, side=side, seed=seed, paired=True)
            done.append(run_side(asked))
            told(asked, done[-1])
        yield done[0], done[1]
