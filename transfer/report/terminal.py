"""Tables on the screen."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from transfer.report.gains import GainRow, GainTable

_WIDTH = 140  # where there is no terminal to ask


def screen() -> Console:
    """The console that results are printed on."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)


def print_gains(table: GainTable, console: Console) -> None:
    """A table of gains, what differs between its rows, and what it rests on."""
    setting = table.setting
    title = f"{setting.task.capitalize()} on {setting.data}, protocol {setting.protocol}"
    if setting.data == "sample":
        title += " (SAMPLE: drawn images, not VOC or ADE20K)"
    if setting.overrides != "[]":
        title += ", " + ", ".join(f"{k} = {v}" for k, v in json.loads(setting.overrides))
    console.print(_figures(table, title))
    console.print(_differences(table))
    for line in (*_remarks(table), *table.analysis.notes, *table.left_out):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    console.print()


def _figures(table: GainTable, title: str) -> Table:
    metric = table.setting.metric
    shown = Table(title=title, title_justify="left", title_style="bold")
    shown.add_column("backbone")
    for name in ("top-1 %", f"{metric} %", "95 % interval", "gain", "95 % interval", "verdict"):
        shown.add_column(name, justify="right")
    shown.add_column("paper's gain", justify="right")
    for row in table.rows:
        result = row.statistics
        is_baseline = row.name == table.baseline
        shown.add_row(
            row.name,
            _figure(row.top1),
            _figure(result.mean),
            _interval(result.ci_low, result.ci_high),
            "baseline" if is_baseline else _gain(_simple_gain(table, row)),
            _interval(result.gain_low, result.gain_high),
            "" if is_baseline else result.verdict or "no claim",
            "" if is_baseline else _gain(row.paper_gain),
        )
    return shown


def _differences(table: GainTable) -> Table:
    shown = Table(title="What differs", title_justify="left", box=None, title_style="italic")
    for name in ("backbone", "network", "M params", "G mult-adds at 224", "tricks", "rests on"):
        shown.add_column(name, justify="right" if name[0] in "MG" else "left")
    for row in table.rows:
        result = row.statistics
        shown.add_row(
            row.name,
            row.architecture,
            f"{row.parameters / 1e6:.2f}",
            f"{row.multiply_adds / 1e9:.2f}",
            ", ".join(row.tricks) or "none",
            f"{_count(result.classifiers, 'classifier')}, "
            f"{_count(result.fine_tunings, 'fine-tuning')}",
        )
    return shown


def _remarks(table: GainTable) -> list[str]:
    setting = table.setting
    first = table.rows[0].records[0].content
    lines = [
        f"{setting.metric}: last epoch, never the best; fine-tuned in {setting.precision}, "
        f"{first['training']['images']['train']} images trained on, "
        f"{first['training']['images']['test']} tested on; the rest of the config is the same in "
        "every row."
    ]
    on = sorted({row.top1_on for row in table.rows if row.top1_on})
    if on:
        lines.append(f"top-1 was measured on {', '.join(on)}.")
    if setting.data == "sample":
        lines.append(
            "A sample's gain need not have the paper's sign: classifiers and images are tiny, "
            "and the paper's gain stands beside it for orientation only."
        )
    return lines


def _simple_gain(table: GainTable, row: GainRow) -> float | None:
    """The difference of the means, also where one seed allows no claim about it."""
    base = next((r for r in table.rows if r.name == table.baseline), None)
    return row.statistics.mean - base.statistics.mean if base else None


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _gain(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.2f} … {high:.2f}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
