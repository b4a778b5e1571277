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
from backbones.zoo.sizes import OFTEN_ASKED_FOR


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
