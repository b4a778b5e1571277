"""Learning curves: the mean over seeds, and a band from the lowest to the highest seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from transfer.report.gains import GainRow, GainTable
from transfer.report.pictures.choice import drawn_rows, how_many
from transfer.report.pictures.style import COLOURS, INK, canvas
from transfer.report.wording import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ACROSS = 3
FloatArray = npt.NDArray[np.float64]


def draw(table: GainTable) -> Figure | None:
    """Loss over iterations, one panel a row with the baseline in it; None without curves."""
    from matplotlib.ticker import LogLocator, NullFormatter

    rows = [row for row in drawn_rows(table) if _curves(row) is not None]
    others = [row for row in rows if row.name != table.baseline]
    panels = others or rows
    if not panels:
        return None
    height = 0.9 + 1.7 * math.ceil(len(panels) / _ACROSS)
    width = 7.2 if len(panels) > 1 else 4.6
    with canvas(width, height, len(panels), _ACROSS, shared=True) as (figure, grid):
        for place, (axes, row) in enumerate(zip(grid, panels, strict=True)):
            for base in rows:
                if base.name == table.baseline and base is not row:
                    _band(axes, base, INK, ":")
            _band(axes, row, COLOURS[place], "-")
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.tick_params(labelsize=7)
            axes.set_title(f"{row.name}, {count(len(row.records), 'run')}", fontsize=8)
            axes.grid(color="#8a8a8a", alpha=0.25)
        more = how_many(table, len(panels), len(table.rows) - bool(others))
        figure.suptitle(table.setting.title + more, x=0.01, ha="left", fontsize=10)
        band = "mean of the runs, band from the lowest to the highest"
        dots = f"; dotted: {table.baseline}" if others and len(rows) > len(others) else ""
        figure.supxlabel(f"iteration ({band}{dots})", fontsize=8)
        figure.supylabel("training loss", fontsize=9)
        return figure


def _band(axes: Axes, row: GainRow, colour: str, dashes: str) -> None:
    curves = _curves(row)
    assert curves is not None
    iterations, losses = curves
    if len(losses) > 1:
        low, high = losses.min(axis=0), losses.max(axis=0)
        axes.fill_between(iterations, low, high, color=colour, alpha=0.2, lw=0)
    axes.plot(iterations, losses.mean(axis=0), color=colour, ls=dashes, lw=1.2)


def _curves(row: GainRow) -> tuple[FloatArray, FloatArray] | None:
    """Iterations, (points,), and losses, (runs, points), of the runs that have a curve."""
    runs = []
    for record in row.records:
        curve = [p for p in record.content["curve"] if _is_point(p)]
        if curve:
            runs.append(np.array([(p["iteration"], p["loss"]) for p in curve], dtype=float).T)
    if not runs:
        return None
    at = runs[0][0]
    return at, np.array([np.interp(at, iterations, losses) for iterations, losses in runs])


def _is_point(point: object) -> bool:
    if not isinstance(point, dict):
        return False
    told = point.get("iteration"), point.get("loss")
    return all(isinstance(v, int | float) and np.isfinite(v) for v in told)
