"""The timm configuration of networks that this project adds; they have no public weights."""

from __future__ import annotations

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import generate_default_cfgs


def untrained_cfg(architecture: str, *, first_conv: str, classifier: str) -> Any:
    """The ``default_cfgs`` of a module that registers one network with timm.

    Args:
        architecture: The network's name.
        first_conv: Name of the first layer.
        classifier: Name of the last layer.
    """
    cfg = {
        "input_size": (3, 224, 224),
        "num_classes": 1000,
        "pool_size": (7, 7),
        "crop_pct": 0.875,
        "interpolation": "bilinear",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": first_conv,
        "classifier": classifier,
    }
    return generate_default_cfgs({f"{architecture}.untrained": cfg})
