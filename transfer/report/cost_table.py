"""The cost of each row: time and memory of a run, size of the network."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from transfer.report.gains import GainRow, GainTable
from transfer.report.layout import Cell, Missing, Table, table

_MOST = 1e15  # a larger number of seconds or bytes is none
_UNKNOWN = Missing("Not recorded.")


def cost_table(gains: GainTable, name: str) -> Table:
    """The median run of each row, and its network.

    Args:
        gains: The table.
        name: Its short name.
    """
    columns = (
        "backbone",
        "training, minutes",
        "evaluation, minutes",
        "memory, GiB",
        "M parameters",
        "G mult-adds",
    )
    return table(
        name,
        title=f"{gains.setting.title}: cost of one run",
        columns=columns,
        rows=[_line(row) for row in gains.rows],
        notes=[
            "Medians over the runs of a row, on the machines stated below; memory is the peak, of "
            "the GPU if there was one. Parameters and multiply-adds are the classifier's, at 224 "
            "pixels."
        ],
    )


def _line(row: GainRow) -> list[Cell]:
    contents = [record.content for record in row.records]
    return [
        row.name,
        *(_median(_seconds(contents, part), 60, 1) for part in ("train", "evaluate")),
        _median((_peak(content) for content in contents), 2**30, 2),
        f"{row.parameters / 1e6:.2f}" if row.parameters else _UNKNOWN,
        f"{row.multiply_adds / 1e9:.2f}" if row.multiply_adds else _UNKNOWN,
    ]


def _seconds(contents: Sequence[dict[str, Any]], part: str) -> list[Any]:
    return [content.get("seconds", {}).get(part) for content in contents]


def _peak(content: dict[str, Any]) -> Any:
    memory = content.get("memory")
    return (memory.get("gpu") or memory.get("host")) if isinstance(memory, dict) else None


def _median(values: Iterable[Any], unit: float, digits: int) -> Cell:
    known = [value for value in values if type(value) in (int, float) and 0 <= value < _MOST]
    return f"{statistics.median(known) / unit:.{digits}f}" if known else _UNKNOWN
