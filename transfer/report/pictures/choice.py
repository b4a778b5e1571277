"""Which rows are drawn if not all can be distinguished."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from transfer.report.gains import GainRow, GainTable

MOST_ROWS = 6
"""The number of distinguishable colours, and of panels on a page."""


@dataclass(frozen=True)
class Pair:
    """A row and its baseline, if measured.

    Attributes:
        name: The row's name, with the baseline's if it has several.
        row: The row.
        baseline: Its baseline, or None.
    """

    name: str
    row: GainRow
    baseline: GainRow | None


def compared(tables: Sequence[GainTable]) -> list[Pair]:
    """Every row of a setting except the baselines."""
    found = [(table, row) for table in tables for row in table.rows if row.name != table.baseline]
    times = Counter(row.name for _, row in found)
    return [
        Pair(
            row.name if times[row.name] == 1 else f"{row.name} against {table.baseline}",
            row,
            next((one for one in table.rows if one.name == table.baseline), None),
        )
        for table, row in found
    ]


def largest(pairs: Sequence[Pair]) -> list[Pair]:
    """The rows with the largest gains or losses, in the original order."""
    weights = sorted((abs(pair.row.statistics.gain or 0.0) for pair in pairs), reverse=True)
    least = weights[MOST_ROWS - 1] if len(weights) > MOST_ROWS else 0.0
    return [pair for pair in pairs if abs(pair.row.statistics.gain or 0.0) >= least][:MOST_ROWS]


def how_many(drawn: int, of: int) -> str:
    """A remark for the title if rows are missing."""
    return "" if drawn == of else f" ({drawn} of {of} rows, largest changes)"


def against(tables: Sequence[GainTable]) -> str:
    """The baseline of the gains, in words."""
    names = {table.baseline for table in tables}
    return names.pop() if len(names) == 1 else "each row's control"
