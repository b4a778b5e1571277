"""The paper's nine tables, read from CSV files.

He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks", arXiv
1812.01187 (``v2``) and CVPR 2019 (``CVPR``). All figures of the paper that are compared with ours
come from these files.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backbones.common.resources import resource_dir


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The paper's results for a row, in percent; None if not reported."""

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
    """A table, one dict per line; figures keep the paper's digits.

    Args:
        number: 1 to 9.
    """
    path = _folder() / f"table{number}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


@cache
def figures(row: str) -> Figures:
    """The paper's results for a row of the zoo; all None if the paper lacks it.

    Top-1 is from Tables 8 and 9 if they have the row, since the transfer results are reported
    beside it; otherwise from Tables 5, 6 (v2), 2 or 4, in this order.
    """
    detection = _line(8, row)
    if detection:
        segmentation = _line(9, row)
        return Figures(
            top1=float(detection["top1"]),
            voc_map=float(detection["voc_map"]),
            pixacc=float(segmentation["pixacc"]),
            miou=float(segmentation["miou"]),
            table="8, 9",
        )
    for number in (5, 6, 2):
        line = _line(number, row)
        if line:
            return Figures(top1=float(line["top1"]), table=str(number))
    for size in ("batch_256", "batch_1024"):
        for line in table(4):
            if line[f"{size}_row"] == row:
                return Figures(top1=float(line[f"{size}_top1"]), table="4")
    return Figures()


def _line(number: int, row: str) -> dict[str, str]:
    return next((line for line in table(number) if line["row"] == row and row), {})


def _folder() -> Path:
    return resource_dir("paper", "results/paper")
