"""ResNet-D (section 4.2, figure 2c): path B pools 2×2 with stride 2 before a 1×1 of stride 1.

timm's ``resnet50d`` is this network at output stride 32. If layers 3 and 4 are dilated instead of
strided, path B has nothing to pool: GluonCV and mmseg omit the pool; timm keeps one of stride 1,
which is a different network.
"""

from __future__ import annotations

from timm.layers import AvgPool2dSame
from torch import nn


def drop_unstrided_shortcut_pools(network: nn.Module) -> int:
    """Replace every pool of stride 1 in a shortcut by the identity, in place.

    Returns:
        The number of replaced pools.
    """
    dropped = 0
    for name, module in network.named_modules():
        if name.split(".")[-1] != "downsample" or not isinstance(module, nn.Sequential):
            continue
        pool = module[0]
        if isinstance(pool, nn.AvgPool2d | AvgPool2dSame) and _stride(pool) == 1:
            module[0] = nn.Identity()
            dropped += 1
    return dropped


def _stride(pool: nn.AvgPool2d) -> int:
    return pool.stride if isinstance(pool.stride, int) else max(pool.stride)
