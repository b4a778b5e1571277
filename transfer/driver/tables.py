"""The tables and the ending of a finished command."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from transfer.driver.earlier import read_records
from transfer.plan.request import Plan
from transfer.records import records
from transfer.records.comparable import Setting
from transfer.report.ending import ending
from transfer.report.gains import GainTable, gain_tables, keep_look
from transfer.report.terminal import print_gains


def print_tables(plan: Plan, results: Path, console: Console) -> list[GainTable]:
    """Print the tables of the plan's records, with every recorded seed of their rows."""
    paths = [records.path_of(results, cell) for cell in plan.cells]
    settings = {Setting.of(records.read(path)) for path in paths if path.exists()}
    rows = {cell.backbone for cell in plan.cells}
    found, unreadable = read_records(results, plan.data)
    for sentence in unreadable:
        console.print(sentence, highlight=False, soft_wrap=True)
    of_tables = [r for r in found if Setting.of(r) in settings and r.cell["backbone"] in rows]
    tables = gain_tables(of_tables, plan.baseline, rows)
    for table in tables:
        print_gains(table, console)
        keep_look(table)
    return list(tables)


def print_ending(tables: list[GainTable], args: argparse.Namespace, console: Console) -> None:
    """Print what the sample showed and what to do next."""
    published = Path(__file__).resolve().parents[2] / "results"
    for line in ending(tables, args.backbone, args.results, published):
        console.print(line, highlight=False, soft_wrap=True)
