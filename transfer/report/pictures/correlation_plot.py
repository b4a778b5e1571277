"""Top-1 against the transfer metric: our rows, and the paper's own seven points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from backbones.zoo import paper_figures
from transfer.report.gains import GainRow, GainTable
from transfer.report.pictures.style import OURS, PAPER, Margins, canvas
from transfer.stats.correlation import Correlation, correlate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Mapping[str, tuple[float, float]]
_MOST_NAMES = 12
_PAPER = {"mAP": (8, "voc_map"), "mIoU": (9, "miou"), "pixAcc": (9, "pixacc")}


def points(tables: Sequence[GainTable]) -> dict[str, tuple[float, float]]:
    """Top-1 and mean metric of each row of one setting; top-1 of one data set only."""
    rows = [row for table in tables for row in table.rows if row.top1 is not None]
    on = _commonest(rows)
    return {
        row.name: (row.top1, row.statistics.mean)
        for row in rows
        if on and row.top1_on == on and row.top1 is not None
    }


def _commonest(rows: Sequence[GainRow]) -> str:
    names = [row.top1_on for row in rows if row.top1_on]
    return max(sorted(set(names)), key=names.count, default="")


def paper_points(metric: str) -> dict[str, tuple[float, float]]:
    """The paper's own points of ``mAP``, ``mIoU`` or ``pixAcc``."""
    number, field = _PAPER[metric]
    return {line["refinement"]: (float(line["top1"]), float(line[field]))
            for line in paper_figures.table(number)}  # fmt: skip


def draw(tables: Sequence[GainTable]) -> Figure | None:
    """Two panels, ours and the paper's; None with too few rows for a correlation.

    Args:
        tables: All tables of one setting.
    """
    setting = tables[0].setting
    ours = points(tables)
    if setting.metric not in _PAPER or correlate(ours).pearson is None:
        return None
    on = _commonest([row for table in tables for row in table.rows if row.top1 is not None])
    with canvas(7.2, 3.7, margins=Margins(top=0.65, bottom=0.5), panels=2) as (
        figure,
        (left, right),
    ):
        _panel(
            left,
            shown=ours,
            colour=OURS,
            marker="o",
            title=f"Ours: {setting.data}, {setting.protocol}",
        )
        left.set_xlabel(f"top-1 on {on}, %")
        left.set_ylabel(f"{setting.measure}, %")
        _panel(
            right,
            shown=paper_points(setting.metric),
            colour=PAPER,
            marker="D",
            title="The paper's seven points",
        )
        right.set_xlabel("top-1 on ImageNet, %")
        return figure


def _panel(axes: Axes, *, shown: Points, colour: str, marker: str, title: str) -> None:
    x, y = np.array(list(shown.values())).T
    axes.plot(x, y, marker, color=colour, mfc="none", ls="")
    found = correlate(shown)
    if found.pearson is not None:
        slope, offset = np.polyfit(x, y, 1)
        ends = np.array([x.min(), x.max()])
        axes.plot(ends, slope * ends + offset, color=colour, lw=1.2)
    axes.margins(0.15)
    axes.locator_params(axis="x", nbins=5)
    axes.set_title(f"{title}\n{coefficients(found)}", fontsize=8)
    if len(shown) <= _MOST_NAMES:
        _name(axes, shown)


def _name(axes: Axes, shown: Points) -> None:
    """Write names beside the points, towards the middle of the picture, without overlap."""
    x, y = np.array(list(shown.values())).T
    middle, step = (x.min() + x.max()) / 2, 0.06 * (np.ptp(y) or 1.0)
    for to_the_left in (False, True):
        lowest = -np.inf
        side = [item for item in shown.items() if (item[1][0] > middle) == to_the_left]
        for name, (at, height) in sorted(side, key=lambda item: item[1][1]):
            lowest = max(height, lowest + step)
            axes.annotate(
                name,
                (at, height),
                (-7 if to_the_left else 7, _in_print(lowest - height, y)),
                textcoords="offset points",
                fontsize=6.5,
                va="center",
                ha="right" if to_the_left else "left",
            )


def _in_print(data: float, y: np.ndarray) -> float:
    """A height in data units as points of print, for axes about 2.4 inches high."""
    return data / ((np.ptp(y) or 1.0) * 1.3) * 2.4 * 72


def coefficients(found: Correlation) -> str:
    """Both coefficients with their intervals, or the reason why there are none."""
    if found.pearson is None or found.spearman is None:
        return found.reason or ""
    ends = f"{found.spearman_low:.2f} … {found.spearman_high:.2f}"
    if found.in_order:  # every resample is in order too, so the interval has no width
        ends = "perfect order: no interval"
    return (
        f"Pearson {found.pearson:.2f} ({found.pearson_low:.2f} … {found.pearson_high:.2f})\n"
        f"Spearman {found.spearman:.2f} ({ends})"
    )
