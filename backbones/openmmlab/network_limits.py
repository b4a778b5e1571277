"""Finds what networks can be used for, by building them.

``python -m backbones.openmmlab.network_limits`` writes it to ``backbones/zoo/limits.csv``, for
commands that must not import torch.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import TextIO

import torch

from backbones.common.errors import UserError
from backbones.openmmlab.backbone import TimmPyramid
from backbones.openmmlab.c4_head import RoIStage
from backbones.openmmlab.feature_shape import way_to_stride
from backbones.zoo import zoo
from backbones.zoo.limits import FAMILIES, LIMITS, Limits
from backbones.zoo.networks import require_known
from backbones.zoo.sizes import OFTEN_ASKED_FOR


def limits(architecture: str) -> Limits:
    """Try to build a network for each use, without memory for its weights.

    Raises:
        UserError: timm has no such network.
    """
    require_known(architecture)
    with torch.device("meta"):
        try:
            TimmPyramid(architecture, output_stride=8)
        except UserError as error:
            return Limits(str(error), "", "")
        at_stride_8 = way_to_stride(architecture, 8)
        try:
            RoIStage(architecture)
        except UserError as error:
            return Limits("", at_stride_8, str(error))
    return Limits("", at_stride_8, "")


def write_table(file: TextIO) -> None:
    """The limits of the networks of the zoo, :data:`OFTEN_ASKED_FOR` and :data:`FAMILIES`."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["architecture", *(field.name for field in dataclasses.fields(Limits))])
    own = {row.architecture for row in zoo.CATALOGUE.values()}
    for architecture in sorted(own.union(OFTEN_ASKED_FOR, FAMILIES)):
        writer.writerow([architecture, *dataclasses.astuple(limits(architecture))])


if __name__ == "__main__":
    text = io.StringIO(newline="")
    write_table(text)  # takes minutes; an interrupted run must leave the old table
    with LIMITS.open("w", encoding="utf-8", newline="") as table:
        table.write(text.getvalue())
