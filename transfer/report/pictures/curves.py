"""Learning curves: the mean over seeds, and a band from the lowest to the highest seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from transfer.records.wording import count
from transfer.report.gains import GainRow, GainTable
from transfer.report.pictures.choice import Pair, against, compared, how_many, largest
from transfer.report.pictures.style import COLOURS, INK, Margins, canvas, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ACROSS = 3
FloatArray = npt.NDArray[np.float64]


def draw(tables: Sequence[GainTable]) -> Figure | None:
    """Loss over iterations, one panel for each row with its baseline; None without curves.

    Args:
        tables: All tables of one setting.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    pairs = compared(tables) or [
        Pair(row.name, row, None) for table in tables for row in table.rows
    ]
    shown = largest([pair for pair in pairs if _curves(pair.row) is not None])
    if not shown:
        return None
    lines = math.ceil(len(shown) / _ACROSS)
    margins = Margins(left=0.65, bottom=0.6, top=0.65, between=0.25)
    size = (7.2 if len(shown) > 1 else 4.6, 0.8 + 1.75 * lines)
    with canvas(*size, margins=margins, panels=len(shown), across=_ACROSS, shared=True) as (
        figure,
        panels,
    ):
        for place, (axes, pair) in enumerate(zip(panels, shown, strict=True)):
            if pair.baseline and _curves(pair.baseline) is not None:
                _band(axes, pair.baseline, INK, ":")
            _band(axes, pair.row, COLOURS[place], "-")
            runs = count(len(pair.row.records), "run")
            axes.set_title(f"{pair.name}, {runs}", fontsize=8)
            axes.tick_params(labelsize=7)
            axes.grid(color="#8a8a8a", alpha=0.25)
        axes = panels[0]
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=_subdivisions(axes.get_ylim())))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.locator_params(axis="x", nbins=5)
        more = how_many(len(shown), len(pairs))
        title(figure, tables[0].setting.title + more)
        band = "mean and range of the runs"
        dots = f"; dotted: {against(tables)}" if any(pair.baseline for pair in shown) else ""
        between = " " if len(shown) > 1 else "\n"  # a single panel is narrower than the text
        figure.supxlabel(f"iteration{between}({band}{dots})", fontsize=8)
        figure.supylabel("training loss", fontsize=9)
        return figure


def _subdivisions(ends: tuple[float, float]) -> tuple[float, ...]:
    """Ticks of a decade, more if less than half a decade is shown."""
    return (1, 2, 5) if ends[1] > 3 * ends[0] else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)


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
    runs = [run for record in row.records if (run := _points(record.content["curve"])).size]
    if not runs:
        return None
    at = runs[0][:, 0]
    return at, np.array([np.interp(at, run[:, 0], run[:, 1]) for run in runs])


def _points(curve: Sequence[Any]) -> FloatArray:
    """Iteration and loss, (points, 2); empty if the curve is missing or malformed."""
    try:
        pairs = [(point["iteration"], point["loss"]) for point in curve]
        points = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    except (KeyError, TypeError, ValueError):
        return np.empty((0, 2))
    return points[np.isfinite(points).all(axis=1)]
