"""ResNet-D (section 4.2, figure 2c): path B pools 2×2 with stride 2 before a 1×1 of stride 1.

timm's ``resnet50d`` is this network at output stride 32. If layers 3 and 4 are dilated instead of
strided, path B has nothing to pool: GluonCV and mmseg omit the pool; timm keeps one of stride 1,
which shifts the shortcut by half a pixel and is a different network. timm's other networks with
such shortcuts keep it too, among them ResNetV2-D, NF-ResNet, RegNetZ and CLIP's ResNet.
"""

from __future__ import annotations

from torch import nn


def drop_unstrided_shortcut_pools(network: nn.Module) -> int:
    """Replace every 2×2 average pool of stride 1 by the identity, in place.

    In timm's networks only dilation leaves such pools, in shortcuts.

    Returns:
        The number of replaced pools.
    """
    found = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.AvgPool2d)
        and _side(module.kernel_size) == 2
        and _side(module.stride) == 1
    ]
    for name in found:
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, nn.Identity())
    return len(found)


def _side(size: int | tuple[int, ...]) -> int:
    return size if isinstance(size, int) else max(size)
