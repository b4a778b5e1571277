"""Which networks return maps that no norm has scaled."""

from __future__ import annotations

import timm
from torch import nn

from backbones.weights.weights import plain_name


def ends_in_layer_norm(architecture: str, features: nn.Module, channels: int) -> bool:
    """Whether a classifier has a layer norm, or one of its kind, between its last map and its head.

    Such networks (ConvNeXt, Swin) return sums of residual blocks. Their detection ports give each
    map a layer norm.

    Args:
        architecture: timm's name of the network.
        features: Its feature extractor, which lacks what follows the last map.
        channels: Channels of the last map.
    """
    used = {plain_name(name) for name, _ in features.named_parameters()}
    return any(
        _normalised_channels(module) == channels
        and not used & {plain_name(f"{name}.{own}") for own, _ in module.named_parameters()}
        for name, module in timm.create_model(architecture).named_modules()
    )


def _normalised_channels(module: nn.Module) -> int:
    """Channels of a layer norm, RMS norm or group norm; 0 for any other module."""
    if isinstance(module, nn.GroupNorm):
        return module.num_channels
    shape = getattr(module, "normalized_shape", ())
    return int(shape[-1]) if shape else 0
