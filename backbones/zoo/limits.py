"""What a network cannot be made into, without building it.

``python -m backbones.openmmlab.network_limits`` writes it to ``limits.csv``, for the zoo's networks
and for others that are often asked for; a test looks at the networks again.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LIMITS = Path(__file__).with_name("limits.csv")


@dataclass(frozen=True)
class Limits:
    """Sentences about a network, as building it raises them; empty for what it can be.

    Attributes:
        pyramid: The backbone of any detector or segmenter.
        stride_8: One of output stride 8, which a segmenter takes.
        roi_head: One whose last stage is the head of a C4 detector.
    """

    pyramid: str
    stride_8: str
    roi_head: str


def limits_of(architecture: str) -> Limits | None:
    """What is known of a network; None where it has to be built to be known."""
    return _limits().get(architecture)


@cache
def _limits() -> dict[str, Limits]:
    with LIMITS.open(encoding="utf-8", newline="") as file:
        return {row.pop("architecture"): Limits(**row) for row in csv.DictReader(file)}
