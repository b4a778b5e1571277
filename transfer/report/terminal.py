"""Tables on the screen."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from backbones.runtime.command import write_no_more
from transfer.records.wording import count, figure, gain_interval, interval, signed
from transfer.report import how_trained, layout
from transfer.report.class_table import class_table
from transfer.report.gains import GainTable
from transfer.report.remarks import remarks

_WIDTH = 140  # where there is no terminal to ask
_MOST_CLASSES = 32  # lines of a table of classes on the screen


def screen(quiet: bool = False) -> Console:
    """The console that results are printed on; a quiet one prints nothing.

    Brackets are printed as they stand: names and paths may have them.
    """
    console = _Screen(markup=False, quiet=quiet)
    return console if console.is_terminal else _Screen(width=_WIDTH, markup=False, quiet=quiet)


class _Screen(Console):
    """A console whose reader may leave, as head does: the command finishes all the same."""

    def on_broken_pipe(self) -> None:
        """Print nothing more; rich would end the process."""
        self.quiet = True
        write_no_more()


def print_gains(table: GainTable, console: Console) -> None:
    """A table of gains, what differs between its rows, and what it rests on."""
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
            gain_interval(result.gain_low, result.gain_high),
            "" if is_baseline else result.verdict or "no claim",
            "" if is_baseline else signed(row.paper_gain),
        )
    return shown


def _print_classes(by_class: layout.Table, console: Console) -> None:
    """The figures of single classes, where a screen has room for them."""
    if len(by_class.rows) > _MOST_CLASSES:
        told = f"  {len(by_class.rows)} lines of figures by class: 'transfer table' prints them."
        console.print(told, highlight=False, soft_wrap=True)
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
    shown = Table(title="What differs", title_justify="left", box=None, title_style="italic")
    for name in ("backbone", "network", "M params", "G mult-adds at 224", "tricks", "rests on"):
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
