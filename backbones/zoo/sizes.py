"""Parameters and multiply-adds of known networks, without building them.

``python -m backbones.zoo.cost`` writes them to ``costs.csv``; a test checks the table.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

COSTS = Path(__file__).with_name("costs.csv")

OFTEN_ASKED_FOR = (
    *("convnext_tiny", "convnext_small", "convnext_base", "convnextv2_tiny"),
    *("deit_small_patch16_224", "vit_tiny_patch16_224", "vit_small_patch16_224"),
    *("vit_base_patch16_224", "vit_large_patch16_224"),
    *("swin_tiny_patch4_window7_224", "swin_small_patch4_window7_224"),
    *("swin_base_patch4_window7_224", "swinv2_tiny_window8_256", "maxvit_tiny_tf_224"),
    *("resnet34", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2", "seresnet50"),
    *("densenet121", "densenet201", "vgg16_bn", "inception_v4"),
    *(
        "efficientnet_b0",
        "mobilenetv2_100",
        "mobilenetv3_large_100",
        "regnety_016",
        "mixer_b16_224",
    ),
)
"""Networks outside the zoo whose limits, and size if they can be used, are known."""


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
    """Size of a network of the zoo or of :data:`OFTEN_ASKED_FOR`; None for other networks."""
    return _sizes().get(architecture)


@cache
def _sizes() -> dict[str, Size]:
    with COSTS.open(encoding="utf-8", newline="") as file:
        return {
            row["architecture"]: Size(int(row["parameters"]), int(row["multiply_adds_224"]))
            for row in csv.DictReader(file)
        }
