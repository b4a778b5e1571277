"""Finds what networks cannot be used for, by building them.

``python -m backbones.openmmlab.network_limits`` writes it to ``backbones/zoo/limits.csv``, for
commands that must not import torch.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from typing import TextIO

import torch

from backbones.common.errors import UserError
from backbones.openmmlab.backbone import TimmPyramid, require_maps
from backbones.openmmlab.c4_head import RoIStage
from backbones.zoo import zoo
from backbones.zoo.limits import LIMITS, Limits

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
"""Networks that are not in the zoo."""


def limits(architecture: str) -> Limits:
    """Try to build a network for each use, without memory for its weights.

    Raises:
        UserError: timm has no such network.
    """
    pyramid = _fault(lambda: require_maps(architecture))
    if pyramid:
        return Limits(pyramid, "", "")
    dilated = _fault(lambda: TimmPyramid(architecture, output_stride=8))
    return Limits("", dilated, _fault(lambda: RoIStage(architecture)))


def _fault(build: Callable[[], object]) -> str:
    """The error message of a network that cannot be built; empty if it can."""
    try:
        with torch.device("meta"):
            build()
    except UserError as error:
        return str(error)
    return ""


def write_table(file: TextIO) -> None:
    """The limits of every network of the zoo and of :data:`OFTEN_ASKED_FOR`."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["architecture", *(field.name for field in dataclasses.fields(Limits))])
    own = {row.architecture for row in zoo.CATALOGUE.values()}
    for architecture in sorted(own.union(OFTEN_ASKED_FOR)):
        writer.writerow([architecture, *dataclasses.astuple(limits(architecture))])


if __name__ == "__main__":
    with LIMITS.open("w", encoding="utf-8", newline="") as table:
        write_table(table)
