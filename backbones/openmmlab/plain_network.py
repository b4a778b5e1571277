"""Networks with blocks of one stride, such as ViT."""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn


class PlainNetwork(nn.Module):
    """The maps after some blocks of a network of one stride.

    Args:
        model: timm's network.
        levels: Indices of the blocks.
        norm: Apply the network's own final norm; of SAM's, its neck. After the last block, this is
            the map from which the classifier's head computes.
    """

    def __init__(self, model: Any, levels: tuple[int, ...], norm: bool) -> None:
        super().__init__()
        self.model = model
        self.levels = levels
        self.norm = norm

    def forward(self, images: Tensor) -> list[Tensor]:
        """A map (B, C, H / stride, W / stride) for each block, of images (B, 3, H, W)."""
        maps: list[Tensor] = self.model.forward_intermediates(
            images, list(self.levels), norm=self.norm, intermediates_only=True
        )
        return maps


def build_plain(architecture: str, level: int, options: dict[str, Any]) -> PlainNetwork:
    """A network up to a block and with its final norm, without its classifier."""
    classifier: Any = timm.create_model(architecture, **options)
    classifier.prune_intermediate_layers([level], prune_norm=False)
    return PlainNetwork(classifier, (level,), norm=True)
