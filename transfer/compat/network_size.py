"""The number of weights of a network in a config, found without memory for them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from mmengine.registry import MODELS, DefaultScope

MOST_WEIGHTS = 1 << 31
"""Most weights of a network that data may ask for: 8 GiB; large ones of timm have half of it."""


def weights_in(model: Any, scope: str) -> int:
    """The number of weights of a network.

    Args:
        model: Its config.
        scope: The toolbox whose registries it uses.

    Raises:
        Exception: It cannot be built; the toolboxes may raise anything.
    """
    with DefaultScope.overwrite_default_scope(scope), torch.device("meta"):
        network = MODELS.build(copy.deepcopy(model))  # detectors change their config
    return sum(part.numel() for part in network.state_dict().values())
