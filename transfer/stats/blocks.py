"""Blocks: units of all rows that share their fine-tuning seeds.

Block s is the i-th classifier, or the only one, fine-tuned with the i-th seed in every row. Gains
are then differences within blocks, and the effect of a seed on all rows cancels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transfer.stats.rows import Observation
from transfer.stats.spreads import FEWEST_UNITS

FloatArray = npt.NDArray[np.float64]
Block = frozenset[int]


@dataclass(frozen=True)
class Blocks:
    """Units of several rows in complete blocks.

    Attributes:
        values: for each row, (n,) values of its units, block by block.
        notes: sentences on units that are left out of the gains.
    """

    values: tuple[FloatArray, ...]
    notes: tuple[str, ...]


def shared_seeds(observations: Sequence[Observation]) -> list[int]:
    """Seeds with which several classifiers of one row were fine-tuned."""
    classifiers: dict[int, set[str]] = {}
    for seen in observations:
        classifiers.setdefault(seen.seed, set()).add(seen.classifier)
    return sorted(seed for seed, several in classifiers.items() if len(several) > 1)


def worth_blocking(rows: int, blocks: int) -> bool:
    """Whether rows that share their seeds are compared within blocks.

    A single row loses half of the degrees of freedom to them, so it needs five blocks.
    """
    return rows >= 2 or blocks >= FEWEST_UNITS


def complete_blocks(rows: Mapping[str, Sequence[Observation]]) -> Blocks | None:
    """The complete blocks of a baseline and its rows; None if they are compared without blocks.

    Every row must have at least half of its units in complete blocks, and the blocks must be worth
    their degrees of freedom. Only the numbers of units and their seeds decide this, never a result.

    Args:
        rows: the observations of the baseline, then of each row.
    """
    units = {name: _units(observations) for name, observations in rows.items()}
    known = [own for own in units.values() if own is not None]
    if len(known) < len(units):
        return None
    common = [block for block in known[0] if all(block in own for own in known)]
    count = len(common)
    if count < 2 or not worth_blocking(len(known) - 1, count):
        return None
    if any(2 * count < len(own) for own in known):
        return None
    order = sorted(common, key=sorted)
    notes = [
        f"{name}: {len(own) - count} of {len(own)} units are not in the gains, because not every "
        "row has their seeds."
        for name, own in zip(units, known, strict=True)
        if len(own) > count
    ]
    return Blocks(tuple(np.array([own[b] for b in order]) for own in known), tuple(notes))


def _units(observations: Sequence[Observation]) -> dict[Block, float] | None:
    """The value of each unit by its seeds; None if two units share a seed."""
    if shared_seeds(observations):
        return None
    by_classifier: dict[str, dict[int, float]] = {}
    for seen in observations:
        by_classifier.setdefault(seen.classifier, {})[seen.seed] = seen.value
    if len(by_classifier) == 1:
        (only,) = by_classifier.values()
        return {frozenset([seed]): value for seed, value in only.items()}
    return {frozenset(v): float(np.mean(list(v.values()))) for v in by_classifier.values()}
