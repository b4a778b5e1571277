"""The paper's gain beside a row: its own, or that of the paper's row that is nearest to it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from backbones.zoo import paper_figures, zoo
from transfer.report.gains import GainRow

_TABLES = {"mAP": (8, "voc_map", "VOC"), "mIoU": (9, "miou", "ADE20K")}


@dataclass(frozen=True)
class PapersGain:
    """A gain that the paper reports, a difference of two single runs.

    Attributes:
        points: The gain over the paper's baseline.
        subject: The paper's network and tricks.
        data: The paper's data set.
    """

    points: float
    subject: str
    data: str

    @property
    def words(self) -> str:
        """The gain as a clause."""
        return f"in the paper, {self.subject} gained {self.points:+.2f} on {self.data}"


def papers_gain(row: GainRow, metric: str) -> PapersGain | None:
    """The paper's gain to show beside a row.

    A row of the paper has its own gain. A row with the tricks of a row of the paper, on a network
    of another depth, has that row's. Any other row has the gain of all tricks together.

    Args:
        row: A row of a table of gains.
        metric: The table's headline metric.

    Returns:
        None for a metric that the paper does not report.
    """
    if metric not in _TABLES:
        return None
    number, field, data = _TABLES[metric]
    if row.paper_gain is not None:
        return PapersGain(row.paper_gain, "this row", data)
    lines = paper_figures.table(number)
    tricks, network = _training(row.name)
    same = [line for line in lines if tricks and _training(line["row"]) == (tricks, network)]
    line = same[-1] if same else lines[-1]
    subject = "ResNet-50 with the same tricks" if same else "ResNet-50 with all tricks"
    return PapersGain(float(line[field]) - float(lines[0][field]), subject, data)


def _training(name: str) -> tuple[object, str]:
    """A row's recipe, and its network without the depth; neither for a row that is not ours."""
    variant = zoo.CATALOGUE.get(name)
    if variant is None or variant.recipe is None:
        return None, ""
    return variant.recipe, re.sub(r"\d+", "", variant.architecture)
