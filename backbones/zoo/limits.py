"""What a network cannot be used for, without building it.

``python -m backbones.openmmlab.network_limits`` writes ``limits.csv`` for the networks of the zoo
and some others; a test checks the table.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LIMITS = Path(__file__).with_name("limits.csv")


@dataclass(frozen=True)
class Limits:
    """Error messages of building a network, by use; empty if it can be built.

    Attributes:
        pyramid: As the backbone of any detector or segmenter.
        stride_8: With output stride 8, for segmenters.
        roi_head: With its last stage as the head of a C4 detector.
    """

    pyramid: str
    stride_8: str
    roi_head: str


def limits_of(architecture: str) -> Limits | None:
    """The known limits of a network; None if it has to be built to find them."""
    return _limits().get(architecture)


@cache
def _limits() -> dict[str, Limits]:
    with LIMITS.open(encoding="utf-8", newline="") as file:
        return {row.pop("architecture"): Limits(**row) for row in csv.DictReader(file)}
