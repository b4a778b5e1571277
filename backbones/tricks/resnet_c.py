"""ResNet-C (section 4.2, figure 2b): the 7×7 stem becomes three 3×3 of 32, 32 and 64 channels.

The first has stride 2. timm's ``resnet50c`` (and 101, 152) is ResNet-B with this stem; its D
networks have the same stem. So nothing has to be added. ``deep_stem`` returns its layers.
"""

from __future__ import annotations

from torch import nn


def deep_stem(network: nn.Module) -> list[nn.Conv2d]:
    """The three convolutions of the stem of a C or D network.

    Raises:
        TypeError: The network has another stem.
    """
    stem = getattr(network, "conv1", None)
    if not isinstance(stem, nn.Sequential):
        raise TypeError(f"{type(network).__name__} has no deep stem")
    return [layer for layer in stem if isinstance(layer, nn.Conv2d)]
