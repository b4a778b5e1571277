"""The paper's nine tables, read from the CSV files that hold them.

He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks", arXiv
1812.01187 (``v2``) and CVPR 2019 (``CVPR``). Every figure that is compared with ours comes from
these files and from nowhere else.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backbones.common.resources import resource_dir


@dataclass(frozen=True)
class Figures:
    """What the paper reports for a row, in percent; None where it reports nothing."""

    top1: float | None = None
    voc_map: float | None = None
    pixacc: float | None = None
    miou: float | None = None
    table: str = ""

    def of(self, metric: str) -> float | None:
        """The figure of a headline metric, ``"mAP"`` or ``"mIoU"``, or of ``"pixAcc"``."""
        return {"mAP": self.voc_map, "mIoU": self.miou, "pixAcc": self.pixacc}.get(metric)


@cache
def table(number: int) -> tuple[dict[str, str], ...]:
    """One table as it is printed, a dict a line; figures keep the paper's digits.

    Args:
        number: 1 to 9.
    """
    path = _folder() / f"table{number}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


@cache
def figures(row: str) -> Figures:
    """The paper's figures of a zoo row, all None where the paper does not have it.

    Top-1 is that of Tables 8 and 9 where the row stands there, since the transfer figures were
    measured beside it; else of Tables 5, 6 (v2), 2 or 4, in this order.
    """
    detection = _line(8, row)
    if detection:
        segmentation = _line(9, row)
        return Figures(
            float(detection["top1"]),
            float(detection["voc_map"]),
            float(segmentation["pixacc"]),
            float(segmentation["miou"]),
            "8, 9",
        )
    for number in (5, 6, 2):
        line = _line(number, row)
        if line:
            return Figures(float(line["top1"]), table=str(number))
    for size in ("batch_256", "batch_1024"):
        for line in table(4):
            if line[f"{size}_row"] == row:
                return Figures(float(line[f"{size}_top1"]), table="4")
    return Figures()


def _line(number: int, row: str) -> dict[str, str]:
    return next((line for line in table(number) if line["row"] == row and row), {})


def _folder() -> Path:
    return resource_dir("paper", "results/paper")
