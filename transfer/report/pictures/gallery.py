"""Every picture of a results folder, with captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from transfer.report.across_data import AcrossData
from transfer.report.gains import GainTable
from transfer.report.pictures import (
    correlation_plot,
    curves,
    gains_plot,
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
        ("gains", gains_plot.draw, f"Gains in {metric} over {control}, with simultaneous 95 % "
         "intervals for two runs or more, beside the paper's gains."),
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
