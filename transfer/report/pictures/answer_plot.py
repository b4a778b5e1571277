"""The answer as one picture: gains with their intervals, task by task, beside the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transfer.records.wording import in_brackets, signed
from transfer.report.answer import Group, asked, controls, task_of, verdict_of
from transfer.report.gains import GainRow, GainTable
from transfer.report.papers_gain import PapersGain, papers_gain
from transfer.report.pictures.style import (
    GAIN,
    GREY,
    INK,
    LOSS,
    Margins,
    canvas,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 5.0  # inches; a telephone shows it without shrinking its letters much
_ROW = 0.5  # inches
_BELOW = 0.17  # rows; from a row's words to its interval
_COLOURS = {"gain": GAIN, "loss": LOSS}


def is_drawn(group: Group) -> bool:
    """Whether any row of a group has a gain to draw."""
    return any(_rows(table) for table in group)


@dataclass(frozen=True)
class _Panel:
    """A table, its rows with a gain, and the paper's gain beside some of them."""

    table: GainTable
    rows: list[GainRow]
    papers: dict[str, PapersGain]


def draw(group: Group) -> Figure | None:
    """A panel for each table, a line for each row; None if no row has a gain.

    Args:
        group: Tables of one data set, protocol and baseline.
    """
    shown = [
        _Panel(table, rows, _of_paper(rows, table)) for table in group if (rows := _rows(table))
    ]
    if not shown:
        return None
    words = [f"{row.name}   {_figures(row)}" for panel in shown for row in panel.rows]
    notes = _notes(shown)
    margins = Margins(left=0.15, right=0.15, top=0.3, bottom=0.5 + 0.17 * len(notes), above=0.75)
    most = max(len(panel.rows) for panel in shown)
    high = margins.top + margins.bottom + len(shown) * most * _ROW
    size = max(_WIDTH, text_width(words) + 0.3), high + (len(shown) - 1) * margins.above
    with canvas(*size, margins=margins, panels=len(shown), across=1) as (figure, panels):
        for axes, panel in zip(panels, shown, strict=True):
            _draw(axes, panel, most)
            task = task_of(panel.table, group)
            axes.set_title(
                f"{task[:1].upper()}{task[1:]}: gain in {panel.table.setting.measure}, points",
                fontsize=9,
                fontweight="bold",
            )
        figure.text(
            0.15 / size[0], 0.08 / size[1], "\n".join(notes), fontsize=7.5, va="bottom", ha="left"
        )
        return figure


def _rows(table: GainTable) -> list[GainRow]:
    """The rows in question, then the controls; those with a gain."""
    return [row for row in (*asked(table), *controls(table)) if row.statistics.gain is not None]


def _figures(row: GainRow) -> str:
    found = row.statistics
    gain = signed(found.gain) + in_brackets(found.gain_low, found.gain_high)
    return f"{gain}  {verdict_of(row)}"


def _of_paper(rows: Sequence[GainRow], table: GainTable) -> dict[str, PapersGain]:
    """The paper's gain beside each row in question."""
    found = {
        row.name: papers_gain(row, table.setting.metric)
        for row in rows
        if not row.statistics.control
    }
    return {name: gain for name, gain in found.items() if gain}


def _draw(axes: Axes, panel: _Panel, most: int) -> None:
    axes.set_ylim(most - 0.45, -0.5)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", color="#8a8a8a", alpha=0.2)
    across = axes.get_yaxis_transform()  # x as a part of the panel, y in rows
    for place, row in enumerate(panel.rows):
        found, colour = row.statistics, _COLOURS.get(verdict_of(row), GREY)
        assert found.gain is not None
        words: dict[str, Any] = {"transform": across, "va": "bottom", "fontsize": 9}
        weight = "normal" if found.control else "bold"
        axes.text(0, place - 0.02, row.name, ha="left", fontweight=weight, **words)
        axes.text(1, place - 0.02, _figures(row), ha="right", color=colour, **words)
        at = place + _BELOW
        axes.plot([0, 0], [at - 0.14, at + 0.14], color=INK, lw=1)
        if found.gain_low is not None and found.gain_high is not None:
            axes.plot([found.gain_low, found.gain_high], [at, at], color=colour, lw=3)
            axes.plot(found.gain, at, "o", color=colour, ms=8)
        else:
            axes.plot(found.gain, at, "o", mec=colour, mfc="none", ms=8)
        if of_paper := panel.papers.get(row.name):
            axes.plot(of_paper.points, at, "D", mec=INK, mfc="none", ms=7, mew=1.3)
    axes.margins(x=0.04)


def _notes(shown: Sequence[_Panel]) -> list[str]:
    """The meaning of the marks, below the panels."""
    baseline = shown[0].table.baseline
    lines = [f"against {baseline}; ● gain with its 95 % interval; | no difference"]
    if all(row.statistics.gain_low is None for panel in shown for row in panel.rows):
        lines = [f"against {baseline}; ○ gain without an interval; | no difference"]
    data: dict[str, dict[str, None]] = {}
    for panel in shown:
        for one in panel.papers.values():
            data.setdefault(one.subject, {})[one.data] = None
    lines += [
        f"◇ the paper: {subject} on {' and '.join(names)}, single runs"
        for subject, names in data.items()
    ]
    return lines
