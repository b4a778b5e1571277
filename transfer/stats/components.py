"""Variance components of a table: what classifiers, seeds and the rest add to the spread.

Each is a difference of two mean squares, by the analysis of variance, with Williams's interval
(Williams 1962, Biometrika 49), whose coverage is at least about its level.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from transfer.stats.power import sd_interval
from transfer.stats.rows import Observation

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Component:
    """A standard deviation in points, with its 95 % interval; 0 where nothing was found.

    Of a seed's effect, ``share`` is its part of a run's variance, with its 95 % interval.
    """

    name: str
    sd: float
    low: float
    high: float
    share: tuple[float, float, float] | None = None


def of_blocks(values: Sequence[FloatArray]) -> list[Component]:
    """The effect of a seed on all rows alike, and the rest, from complete blocks.

    Args:
        values: for the baseline and each row, (n,) values block by block, n of 2 or more.
    """
    table = np.array(values)
    groups, blocks = table.shape
    of_seeds = groups * float(np.var(table.mean(axis=0), ddof=1))
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
    df = (groups - 1) * (blocks - 1)
    mean_square = float((rest**2).sum()) / df
    sd = math.sqrt(mean_square)
    seed = _component("seed, in all rows alike", of_seeds, blocks - 1, mean_square, df, groups)
    share = _share(of_seeds, blocks - 1, mean_square, df, groups)
    return [
        replace(seed, share=share),
        Component("rest", sd, *sd_interval(sd, df)),
    ]


def of_classifiers(rows: Iterable[Sequence[Observation]]) -> list[Component]:
    """Spread between classifiers and of their fine-tunings, pooled over rows.

    Args:
        rows: the observations of rows with several classifiers.

    Returns:
        Nothing if no classifier was fine-tuned twice: the two cannot be separated then.
    """
    between = within = 0.0
    between_df = within_df = 0
    parts: list[float] = []
    for observations in rows:
        cells: dict[str, list[float]] = {}
        for seen in observations:
            cells.setdefault(seen.classifier, []).append(seen.value)
        means = [float(np.mean(cell)) for cell in cells.values()]
        between += float(np.var(means)) * len(means)
        between_df += len(means) - 1
        within += sum(float(np.var(cell)) * len(cell) for cell in cells.values())
        within_df += sum(len(cell) - 1 for cell in cells.values())
        parts += [1 / len(cell) for cell in cells.values()]
    if not between_df or not within_df or not within:
        return []
    kept = float(np.mean(parts))
    noise = kept * within / within_df
    sd = math.sqrt(within / within_df)
    return [
        _component("classifier", between / between_df, between_df, noise, within_df, 1),
        Component("fine-tunings of one classifier", sd, *sd_interval(sd, within_df)),
    ]


def _share(
    upper: float, upper_df: int, lower: float, lower_df: int, count: int
) -> tuple[float, float, float]:
    """The intraclass correlation of two mean squares, with its exact 95 % interval.

    ICC(C,1) of McGraw and Wong 1996 (Psychological Methods 1), which is ICC(3,1) of Shrout and
    Fleiss 1979; a negative value counts as 0.
    """
    from scipy import special

    ratio = upper / lower if lower else (math.inf if upper else 0.0)

    def share(f: float) -> float:
        return 1 - count / (f + count - 1) if f > 1 else 0.0

    low, high = (float(special.fdtri(upper_df, lower_df, p)) for p in (0.975, 0.025))
    return share(ratio), share(ratio / low), share(ratio / high)


def _component(
    name: str, upper: float, upper_df: int, lower: float, lower_df: int, count: int
) -> Component:
    """The component (upper - lower) / count of two mean squares."""
    from scipy import special

    ratio = upper / lower if lower else math.inf
    variance = max(0.0, upper - lower) / count
    f_high = float(special.fdtri(upper_df, lower_df, 0.975))
    f_low = float(special.fdtri(upper_df, lower_df, 0.025))
    sd_low, sd_high = sd_interval(math.sqrt(upper / count), upper_df)
    low = sd_low**2 * max(0.0, 1 - f_high / ratio) if ratio else 0.0
    high = sd_high**2 * max(0.0, 1 - f_low / ratio) if ratio else 0.0
    return Component(name, math.sqrt(variance), math.sqrt(low), math.sqrt(high))
