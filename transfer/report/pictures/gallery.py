"""Every picture of a results folder, with captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from transfer.report.across_data import AcrossData
from transfer.report.answer import Group, answer
from transfer.report.gains import GainTable
from transfer.report.pictures import (
    answer_plot,
    correlation_plot,
    curves,
    per_class,
    ranks_plot,
    style,
)
from transfer.report.pictures.choice import against

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A drawn picture.

    Attributes:
        name: Short, for files and anchors.
        caption: For people.
        figure: Matplotlib's.
    """

    name: str
    caption: str
    figure: Figure

    @cached_property
    def svg(self) -> bytes:
        """The picture as SVG, drawn once."""
        return style.svg(self.figure)


def pictures(tables: Sequence[GainTable], name: str) -> Iterator[Picture]:
    """The pictures of one setting; empty ones are omitted.

    Args:
        tables: All tables of the setting.
        name: Prefix of each picture's name.
    """
    metric, control = tables[0].setting.measure, against(tables)
    found = correlation_plot.coefficients(
        correlation_plot.correlate(correlation_plot.points(tables))
    )
    drawn = (
        ("classes", per_class.draw, f"Change of each class against {control}, mean over runs; the "
         "largest gains first."),
        ("curves", curves.draw, "Learning curves: mean training loss over runs, with a band from "
         "the lowest to the highest run."),
        ("correlation", correlation_plot.draw, f"Top-1 against {metric}, one point for each row, "
         f"beside the paper's own seven points. Ours: {found.replace(chr(10), ', ')}."),
    )  # fmt: skip
    for kind, draw, caption in drawn:
        figure = draw(tables)
        if figure is not None:
            yield Picture(f"{name}-{kind}", caption, figure)


def answer_picture(group: Group, name: str) -> Picture | None:
    """The picture of an answer; None if no row has a gain.

    Args:
        group: The tables of the answer.
        name: The picture's name.
    """
    figure = answer_plot.draw(group)
    if figure is None:
        return None
    words = " ".join(answer(group).sentences)
    return Picture(
        name, f"Gains with their 95 % intervals, beside the paper's gains. {words}", figure
    )


def ranks_picture(found: AcrossData) -> Picture:
    """The critical-difference picture of several data sets."""
    reach = found.ranks.critical
    band = (
        f"A row outside the band, {reach:.2f} to each side of {found.rows[0]}, differs at 5 %."
        if reach
        else "So few data sets have no critical difference."
    )
    caption = f"Mean ranks over {len(found.tables)} data sets. {band}"
    return Picture(f"{found.name}-ranks", caption, ranks_plot.draw(found))
