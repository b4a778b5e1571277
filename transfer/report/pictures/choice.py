"""Which rows are drawn where not all can be told apart."""

from __future__ import annotations

from transfer.report.gains import GainRow, GainTable
from transfer.report.pictures.style import MOST_ROWS


def drawn_rows(table: GainTable, most: int = MOST_ROWS) -> list[GainRow]:
    """The baseline and the rows with the largest gains or losses, in the table's order."""

    def weight(row: GainRow) -> float:
        if row.name == table.baseline:
            return float("inf")
        return abs(row.statistics.gain or 0.0)

    kept = {row.name for row in sorted(table.rows, key=weight, reverse=True)[:most]}
    return [row for row in table.rows if row.name in kept]


def how_many(table: GainTable, drawn: int, of: int) -> str:
    """A remark for the title where rows are missing."""
    return "" if drawn == of else f" ({drawn} of {of} rows, the largest changes)"
