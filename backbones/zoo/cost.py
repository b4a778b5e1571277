"""Computes the cost of a network: parameters and multiply-adds.

``python -m backbones.zoo.cost`` writes the costs of the zoo to ``costs.csv``, for commands that
must not import torch.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Any, TextIO

import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from backbones.zoo import zoo
from backbones.zoo.limits import limits_of
from backbones.zoo.networks import is_timms, require_known, unusable
from backbones.zoo.sizes import COSTS, OFTEN_ASKED_FOR

IMAGE_SIZE = 224
"""Side of the image for which multiply-adds are counted, in pixels."""


@dataclass(frozen=True)
class Cost:
    """Size and work of a classifier.

    Attributes:
        parameters: Number of trainable parameters.
        multiply_adds: In convolutions and matrix products, for one image of :data:`IMAGE_SIZE`.
    """

    parameters: int
    multiply_adds: int


def classifier_cost(architecture: str) -> Cost:
    """Cost of a 1000-class classifier; only shapes are propagated.

    The paper's "FLOPs" are multiply-adds (Tables 1 and 5). Those of a network that takes images of
    its own size only are counted at that size and scaled by the image's area.

    Raises:
        UserError: timm has no such network, or a user's own does not compute logits of an image.
    """
    require_known(architecture)
    try:
        return _cost(architecture)
    except Exception as error:
        if is_timms(architecture):
            raise
        raise unusable(architecture, error) from error


def _cost(architecture: str) -> Cost:
    with torch.device("meta"):
        network: Any = timm.create_model(architecture).eval()
        parameters = sum(p.numel() for p in network.parameters())
        choices: tuple[dict[str, Any], ...] = ({}, {"dynamic_img_size": True})
        for options in choices:
            try:
                of_any_size = timm.create_model(architecture, **options).eval()
                return Cost(parameters, _multiply_adds(of_any_size, IMAGE_SIZE))
            except (AssertionError, RuntimeError, TypeError):
                continue
        own = network.pretrained_cfg["input_size"][-1]
        return Cost(parameters, _multiply_adds(network, own) * IMAGE_SIZE**2 // own**2)


def _multiply_adds(network: nn.Module, side: int) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() // 2


def write_table(file: TextIO) -> None:
    """Write the costs of the zoo's networks and of others that are often asked for.

    Networks that give no pyramid are left out: every protocol refuses them, and some of them take
    images of one other size only.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["architecture", "parameters", "multiply_adds_224"])
    own = {row.architecture for row in zoo.CATALOGUE.values()}
    for architecture in sorted(own.union(OFTEN_ASKED_FOR)):
        if (known := limits_of(architecture)) and known.pyramid:
            continue
        cost = classifier_cost(architecture)
        writer.writerow([architecture, cost.parameters, cost.multiply_adds])


if __name__ == "__main__":
    with COSTS.open("w", encoding="utf-8") as table:
        write_table(table)
