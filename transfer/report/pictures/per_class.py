"""Per class, what each row changed against the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from transfer.report.gains import GainRow, GainTable
from transfer.report.pictures.choice import drawn_rows, how_many
from transfer.report.pictures.style import COLOURS, INK, MARKERS, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PREFIX = {"detection": "AP/", "segmentation": "IoU/"}
_MOST_CLASSES = 30


def changes(table: GainTable) -> dict[str, dict[str, float]]:
    """By row and class, the mean over runs minus the baseline's; classes that both have."""
    prefix = _PREFIX.get(table.setting.task, "")
    base = next((row for row in table.rows if row.name == table.baseline), None)
    if base is None:
        return {}
    before = _means(base, prefix)
    found = {}
    for row in drawn_rows(table):
        after = _means(row, prefix)
        shared = before.keys() & after.keys()
        if row.name != table.baseline and shared:
            found[row.name] = {name: after[name] - before[name] for name in sorted(shared)}
    return found


def draw(table: GainTable) -> Figure | None:
    """One line a class, one mark a row; None where there is nothing to compare."""
    found = changes(table)
    classes = sorted({name for change in found.values() for name in change})
    if not classes:
        return None
    mean = {n: float(np.mean([c[n] for c in found.values() if n in c])) for n in classes}
    classes.sort(key=lambda name: -mean[name])
    shown = classes
    if len(classes) > _MOST_CLASSES:
        half = _MOST_CLASSES // 2
        shown = classes[:half] + classes[-half:]
    with canvas(7.0, 1.5 + 0.21 * len(shown)) as (figure, (axes,)):
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, (row, change) in enumerate(found.items()):
            at = [(change[name], y) for y, name in enumerate(shown) if name in change]
            axes.plot(
                *zip(*at, strict=True), MARKERS[place], color=COLOURS[place], mfc="none", label=row
            )
        axes.set_yticks(range(len(shown)), shown)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(color="#8a8a8a", alpha=0.25)
        kind = _PREFIX[table.setting.task].rstrip("/")
        some = "" if shown is classes else f", {len(shown)} of {len(classes)} classes"
        axes.set_xlabel(f"change in {kind} against {table.baseline}, points{some}")
        rows = len(table.rows) - 1
        axes.set_title(table.setting.title + how_many(table, len(found), rows))
        figure.legend(loc="outside lower center", ncols=3)
        return figure


def _means(row: GainRow, prefix: str) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for record in row.records:
        for name, value in record.content["metrics"].items():
            if prefix and name.startswith(prefix) and isinstance(value, int | float):
                values.setdefault(name.removeprefix(prefix), []).append(value)
    return {name: float(np.mean(found)) for name, found in values.items()}
