"""ViTDet's simple feature pyramid: maps of several strides from the last map of a plain ViT.

Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection" (2022,
arXiv:2203.16527), section 3: from a map of stride 16, two transposed convolutions with a layer norm
and GELU between them make stride 4, one makes stride 8, stride 16 stays, and a max pool makes
stride 32. A 1×1 and a 3×3 convolution follow, each with a layer norm.
"""

from __future__ import annotations

from timm.layers import LayerNorm2d
from torch import nn

WIDTH = 256
"""Channels of every map of the pyramid."""

STRIDE = 16
"""Stride of the map that the pyramid is made of."""


def pyramid_level(channels: int, stride: int) -> nn.Sequential:
    """The layers that make one map of the pyramid.

    Args:
        channels: Channels C of the network's map of stride 16, (B, C, H, W) with even sides.
        stride: Stride of the new map, (B, 256, 16 H / stride, 16 W / stride): 4, 8, 16 or 32.
    """
    half, quarter = channels // 2, channels // 4
    once = nn.ConvTranspose2d(channels, half, 2, stride=2)
    resize: dict[int, list[nn.Module]] = {
        4: [once, LayerNorm2d(half), nn.GELU(), nn.ConvTranspose2d(half, quarter, 2, stride=2)],
        8: [once],
        16: [],
        32: [nn.MaxPool2d(2)],
    }
    return nn.Sequential(
        *resize[stride],
        nn.Conv2d({4: quarter, 8: half}.get(stride, channels), WIDTH, 1, bias=False),
        LayerNorm2d(WIDTH),
        nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
        LayerNorm2d(WIDTH),
    )
