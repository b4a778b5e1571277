"""Mixup (section 5.4): x̂ = λ x_i + (1 − λ) x_j and ŷ = λ y_i + (1 − λ) y_j, λ ~ Beta(α, α).

Training uses only mixed examples. Every pair draws its own λ; the authors' code draws one per
batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from backbones.tricks.trick import Trick, register


@register("mixup")
class Mixup(Trick):
    """Mixes examples; the value is α."""

    order = 5.4

    def batch(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed images and targets, of the same shapes."""
        return mix(images, targets, self.value, one_lambda=self.authors_code)


def mix(
    images: Tensor, targets: Tensor, alpha: float, one_lambda: bool = False
) -> tuple[Tensor, Tensor]:
    """Mix each example with another one of its batch; draws from torch's generator.

    Args:
        images: (B, 3, H, W).
        targets: (B, K) distributions.
        alpha: Parameter of the Beta distribution; 0.2 in the paper.
        one_lambda: As in the authors' code: one λ per batch.

    Returns:
        Mixed images and targets, of the same shapes.
    """
    size = len(images)
    draws = torch.distributions.Beta(alpha, alpha).sample((1 if one_lambda else size,))
    weight = draws.expand(size).to(images)
    partner = torch.randperm(size).to(images.device)
    mixed_images = torch.lerp(images[partner], images, weight[:, None, None, None])
    mixed_targets = torch.lerp(targets[partner], targets, weight[:, None].to(targets))
    return mixed_images, mixed_targets
