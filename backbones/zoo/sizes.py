"""Parameters and multiply-adds of the zoo's networks, without building them.

``python -m backbones.zoo.cost`` writes them to ``costs.csv``; a test checks the table.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

COSTS = Path(__file__).with_name("costs.csv")


@dataclass(frozen=True)
class Size:
    """Size and work of a classifier.

    Attributes:
        parameters: Number of trainable parameters.
        multiply_adds: For one image of 224 × 224 pixels.
    """

    parameters: int
    multiply_adds: int


def size_of(architecture: str) -> Size | None:
    """Size of a network of the zoo; None for other networks."""
    return _sizes().get(architecture)


@cache
def _sizes() -> dict[str, Size]:
    with COSTS.open(encoding="utf-8", newline="") as file:
        return {
            row["architecture"]: Size(int(row["parameters"]), int(row["multiply_adds_224"]))
            for row in csv.DictReader(file)
        }
