"""MobileNet 1.0 as first published and as in the authors' code: with ReLU.

timm's ``mobilenetv1_100`` limits activations to 6, like TensorFlow's later code. The
network with plain ReLU is registered here as ``mobilenetv1`` (Howard et al., "MobileNets", 2017,
section 3.2; GluonCV's ``mobilenet1.0``).
"""

from __future__ import annotations

from typing import Any

from timm.models import register_model
from timm.models.efficientnet import EfficientNet, mobilenetv1_100

from backbones.common.timm_cfg import untrained_cfg

default_cfgs = untrained_cfg("mobilenetv1", first_conv="conv_stem", classifier="classifier")


@register_model
def mobilenetv1(
    pretrained: bool = False, pretrained_cfg: Any = None, **kwargs: Any
) -> EfficientNet:
    """MobileNet 1.0 (Tables 2, 3 and 6), 4.2 M parameters."""
    cfg = pretrained_cfg or default_cfgs["mobilenetv1"].default
    return mobilenetv1_100(pretrained, pretrained_cfg=cfg, **{"act_layer": "relu", **kwargs})
