"""Shards of a suite: which of N machines, or jobs of a Slurm array, runs which cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from backbones.common.errors import UserError
from backbones.zoo.sizes import size_of
from transfer.records.cells import Cell


@dataclass(frozen=True)
class Shard:
    """One part of a suite.

    Attributes:
        number: Of the part, from 1.
        of: Parts in all.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``I/N``.

        Raises:
            UserError: The text has another form, or I is not between 1 and N.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        number, of = (int(part) for part in found.groups()) if found else (0, 0)
        if not 1 <= number <= of:
            raise UserError(
                f"--shard must be I/N with I from 1 to N, such as 3/8; it is '{text}'. In the "
                "array 1-8 of Slurm, use $SLURM_ARRAY_TASK_ID/8: Slurm's own task count "
                "changes when a part of the tasks is submitted again."
            )
        return cls(number, of)


def share(cells: Sequence[Cell], shard: Shard) -> tuple[Cell, ...]:
    """The cells of a shard, in their order.

    Every cell is in one shard. The split depends on the cells alone, not on records, so it is the
    same on every machine at any time; another N, row or seed changes it. Cells of one task,
    protocol, data set and setting are assigned by the multiply-adds of their networks, the largest
    first, each to the shard with the least work of this kind so far.
    """
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.task, cell.protocol, cell.data, cell.overrides), []).append(cell)
    held = [0] * shard.of
    mine: set[str] = set()
    for group in groups.values():
        loads = [0.0] * shard.of
        for cell, work in _largest_first(group):
            place = min(range(shard.of), key=lambda n: (loads[n], held[n], n))
            loads[place] += work
            held[place] += 1
            if place == shard.number - 1:
                mine.add(cell.id)
    return tuple(cell for cell in cells if cell.id in mine)


def _largest_first(group: Sequence[Cell]) -> list[tuple[Cell, float]]:
    """Cells with their work; a network outside the zoo counts as much as the others."""
    sizes = [size_of(cell.architecture) for cell in group]
    known = [size.multiply_adds for size in sizes if size]
    usual = fmean(known) if known else 1.0
    work = [size.multiply_adds if size else usual for size in sizes]
    return sorted(zip(group, work, strict=True), key=lambda pair: (-pair[1], pair[0].id))
