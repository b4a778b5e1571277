"""ResNet-B (section 4.1, figure 2a): path A strides in its 3×3 convolution, not in its first 1×1.

A 1×1 convolution of stride 2 ignores three quarters of its input. timm's ``resnet50`` is
ResNet-50-B already; the network *without* this trick, GluonCV's ``v1``, is registered here as
``resnet50v1``.
"""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.resnet import Bottleneck, ResNet

from backbones.common.timm_cfg import untrained_cfg


class StrideInFirst1x1(Bottleneck):
    """The original bottleneck: the stride of path A is in its first convolution."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conv1.stride, self.conv2.stride = self.conv2.stride, self.conv1.stride


default_cfgs = untrained_cfg("resnet50v1", first_conv="conv1", classifier="fc")


@register_model
def resnet50v1(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 as first published (Table 5's "ResNet-50"), 25.6 M parameters."""
    shape = {"block": StrideInFirst1x1, "layers": (3, 4, 6, 3)}
    return build_model_with_cfg(ResNet, "resnet50v1", pretrained, **{**shape, **kwargs})
