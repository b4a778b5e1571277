"""The records behind a table, one line each, with links to their files."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from transfer.records.records import Record
from transfer.records.wording import figure
from transfer.report.gains import GainTable
from transfer.report.layout import Cell, Link, Table, table


def record_table(gains: GainTable, name: str, page: Path) -> Table:
    """Every run of a table.

    Args:
        gains: The table.
        name: Its short name.
        page: The file that links to the records.
    """
    columns = ("record", "backbone", "classifier", "seed", gains.setting.measure, "finished")
    rows = [_line(record, page) for row in gains.rows for record in row.records]
    title = f"{gains.setting.title}: records of the table against {gains.baseline}"
    return table(name, title=title, columns=columns, rows=rows)


def _line(record: Record, page: Path) -> list[Cell]:
    cell = record.cell
    return [
        Link(record.path.name, _relative(record.path, page)),
        cell["backbone"],
        str(cell["classifier"]),
        str(cell["seed"]),
        figure(record.value),
        str(record.content.get("finished", ""))[:10],
    ]


def _relative(record: Path, page: Path) -> str:
    """A record's address as seen from the page, which may move with its results folder."""
    path = os.path.relpath(record.resolve(), page.resolve().parent)
    return quote(path.replace(os.sep, "/"))
