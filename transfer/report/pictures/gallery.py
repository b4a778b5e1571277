"""Every picture of a folder of results, with what each shows in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transfer.report.gains import GainTable
from transfer.report.pictures import correlation, curves, gains, per_class

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


def pictures(tables: Sequence[GainTable], name: str) -> Iterator[Picture]:
    """The pictures of one setting; one that has nothing to show is not drawn.

    Args:
        tables: All tables of the setting.
        name: Put before each picture's own name.
    """
    for place, table in enumerate(tables):
        stem = f"{name}-{place + 1}" if place else name
        metric, against = table.setting.metric, table.baseline
        drawn = (
            ("gains", gains.draw(table), f"Gains in {metric} over {against}, with simultaneous "
             "95 % intervals where there are two runs or more; the paper's gains beside them."),
            ("classes", per_class.draw(table), f"Change of each class against {against}, mean over "
             "runs; best classes first."),
            ("curves", curves.draw(table), "Learning curves: mean training loss over runs, with a "
             "band from the lowest to the highest run."),
        )  # fmt: skip
        for kind, figure, caption in drawn:
            if figure is not None:
                yield Picture(f"{stem}-{kind}", caption, figure)
    figure = correlation.draw(tables)
    if figure is not None:
        found = correlation.told(correlation.correlate(correlation.points(tables)))
        caption = (
            f"Top-1 against {tables[0].setting.metric}, one point a row; beside it the paper's own "
            f"seven points. Ours: {found.replace(chr(10), ', ')}."
        )
        yield Picture(f"{name}-correlation", caption, figure)
