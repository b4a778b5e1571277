"""Tables on the screen."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from transfer.records.wording import count, figure, interval, signed
from transfer.report import how_trained, layout
from transfer.report.class_table import class_table
from transfer.report.gains import GainTable
from transfer.report.remarks import remarks

_MOST_CLASSES = 32  # most lines of a class table on the screen


def print_gains(table: GainTable, console: Console) -> None:
    """Print a table of gains, the differences between its rows, and its remarks."""
    console.print(_figures(table, table.setting.title))
    console.print(_differences(table))
    if by_class := class_table(table, "classes"):
        _print_classes(by_class, console)
    for line in remarks(table):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    console.print()


def _figures(table: GainTable, title: str) -> Table:
    shown = Table(title=title, title_justify="left", title_style="bold")
    shown.add_column("backbone", overflow="fold")
    measure = f"{table.setting.measure} %"
    for name in ("top-1 %", measure, "95 % interval", "gain", "95 % interval", "verdict"):
        shown.add_column(name, justify="right", overflow="fold")
    shown.add_column("paper's gain", justify="right", overflow="fold")
    for row in table.rows:
        result = row.statistics
        is_baseline = row.name == table.baseline
        shown.add_row(
            row.name,
            figure(row.top1),
            figure(result.mean),
            interval(result.ci_low, result.ci_high),
            "baseline" if is_baseline else signed(result.gain),
            interval(result.gain_low, result.gain_high),
            "" if is_baseline else result.verdict or "no claim",
            "" if is_baseline else signed(row.paper_gain),
        )
    return shown


def _print_classes(by_class: layout.Table, console: Console) -> None:
    """Print the per-class figures if they fit on the screen."""
    if len(by_class.rows) > _MOST_CLASSES:
        hint = f"  'transfer table' prints {len(by_class.rows)} lines of per-class figures."
        console.print(hint, highlight=False, soft_wrap=True)
        return
    shown = Table(title=by_class.title, title_justify="left", box=None, title_style="italic")
    for place, name in enumerate(by_class.columns):
        shown.add_column(name, justify="right" if place else "left", overflow="fold")
    for row in by_class.rows:
        shown.add_row(*row)
    console.print(shown)
    for note in by_class.notes:
        console.print(f"  {note}", highlight=False, soft_wrap=True)


def _differences(table: GainTable) -> Table:
    shown = Table(title="Differences", title_justify="left", box=None, title_style="italic")
    for name in ("backbone", "network", "M params", "G mult-adds at 224", "tricks", "basis"):
        shown.add_column(name, justify="right" if name[0] in "MG" else "left", overflow="fold")
    for row in table.rows:
        result = row.statistics
        shown.add_row(
            row.name,
            row.architecture,
            f"{row.parameters / 1e6:.2f}",
            f"{row.multiply_adds / 1e9:.2f}",
            how_trained.tricks(row),
            f"{count(result.classifiers, 'classifier')}, "
            f"{count(result.fine_tunings, 'fine-tuning')}",
        )
    return shown
