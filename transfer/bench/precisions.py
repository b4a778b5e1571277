"""Pairs of finished cells that differ only in precision."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.hardware import PRECISIONS
from transfer.records import records

_NOT_THE_SAME = ("id", "precision", "weights")


@dataclass(frozen=True)
class Twins:
    """A cell in both precisions.

    Attributes:
        name: The cell, for people.
        bfloat16: Headline metric in percent.
        float32: Likewise.
    """

    name: str
    bfloat16: float
    float32: float


def twins(folders: Sequence[Path], data: str, task: str) -> list[Twins]:
    """All pairs among the records of some results folders, ordered by name.

    Args:
        folders: Results folders.
        data: Name of the data set.
        task: ``"detection"`` or ``"segmentation"``.

    Raises:
        UserError: A record cannot be read, or fewer than two cells have both precisions.
    """
    found: dict[str, dict[str, records.Record]] = {}
    for folder in folders:
        good, bad = records.read_all(folder, data)
        if bad:
            raise UserError(bad[0])
        for record in good:
            if (record.cell["data"], record.cell["task"]) == (data, task):
                same = {k: v for k, v in record.cell.items() if k not in _NOT_THE_SAME}
                key = json.dumps(same, sort_keys=True)
                found.setdefault(key, {})[record.cell["precision"]] = record
    both = [pair for pair in found.values() if set(PRECISIONS) <= pair.keys()]
    if len(both) < 2:
        places = ", ".join(f"'{folder}'" for folder in folders)
        raise UserError(
            f"{places}: only {len(both)} runs of {task} on {data} are recorded in both "
            "precisions, but "
            "an interval needs two. Run the suite again with --precision float32 and its own "
            "--results, and pass both folders."
        )
    made = [
        Twins(_name(pair["float32"]), pair["bfloat16"].value, pair["float32"].value)
        for pair in both
    ]
    return sorted(made, key=lambda pair: pair.name)


def _name(record: records.Record) -> str:
    cell = record.cell
    return f"{cell['backbone']}, {cell['classifier']}, fine-tuning {cell['seed']}"
