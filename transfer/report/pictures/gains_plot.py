"""Gains with their simultaneous intervals, with the paper's dot beside each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transfer.report.gains import GainRow, GainTable
from transfer.report.pictures.choice import against, compared
from transfer.report.pictures.style import INK, OURS, PAPER, Margins, canvas, text_width, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BESIDE = 0.22  # rows; distance of the paper's dot below ours


def draw(tables: Sequence[GainTable]) -> Figure | None:
    """One line for each row; None if no row has a gain.

    Args:
        tables: All tables of one setting.
    """
    pairs = [pair for pair in compared(tables) if pair.row.statistics.gain is not None]
    if not pairs:
        return None
    rows = [pair.row for pair in pairs]
    setting = tables[0].setting
    margins = Margins(left=0.2 + text_width(pair.name for pair in pairs), bottom=0.8)
    high = margins.top + margins.bottom + 0.36 * len(rows) + 0.1
    with canvas(max(7.0, margins.left + 4.0), high, margins=margins) as (figure, (axes,)):
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, row in enumerate(rows):
            found = row.statistics
            assert found.gain is not None
            if found.gain_low is not None and found.gain_high is not None:
                axes.plot([found.gain_low, found.gain_high], [place, place], color=OURS, lw=2)
                axes.plot(found.gain, place, "o", color=OURS, ms=7)
            else:
                axes.plot(found.gain, place, "o", mec=OURS, mfc="none", ms=7)
            if row.paper_gain is not None:
                axes.plot(row.paper_gain, place + _BESIDE, "D", mec=PAPER, mfc="none", ms=5)
        axes.set_yticks(range(len(rows)), [pair.name for pair in pairs])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color="#8a8a8a", alpha=0.25)
        axes.set_xlabel(f"gain in {setting.measure} over {against(tables)}, points")
        title(figure, setting.title)
        _legend(figure, rows)
        return figure


def _legend(figure: Figure, rows: Sequence[GainRow]) -> None:
    from matplotlib.lines import Line2D

    handles = []
    if any(row.statistics.gain_low is not None for row in rows):
        handles.append(
            Line2D([], [], color=OURS, marker="o", ms=6, label="ours, simultaneous 95 % interval")
        )
    if any(row.statistics.gain_low is None for row in rows):
        handles.append(
            Line2D([], [], mec=OURS, mfc="none", marker="o", ls="", label="ours, no claim")
        )
    if any(row.paper_gain is not None for row in rows):
        label = "the paper's, single runs on its own data"
        handles.append(Line2D([], [], mec=PAPER, mfc="none", marker="D", ls="", ms=5, label=label))
    figure.legend(handles=handles, loc="lower center", ncols=len(handles))
