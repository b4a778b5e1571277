"""Mixup (section 5.4): x̂ = λ x_i + (1 − λ) x_j and ŷ = λ y_i + (1 − λ) y_j, λ ~ Beta(α, α).

Only mixed examples are trained on. Every pair draws its own λ; the authors' code draws one a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from backbones.tricks.trick import Trick, register


@register("mixup")
class Mixup(Trick):
    """Mixed examples; the value is α."""

    order = 5.4

    def batch(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed images and targets, of the same shapes."""
        return mix(images, targets, self.value, one_lambda=self.authors_code)


def mix(
    images: Tensor, targets: Tensor, alpha: float, one_lambda: bool = False
) -> tuple[Tensor, Tensor]:
    """Mix each example with another of its batch; draws from torch's generator.

    Args:
        images: (B, 3, H, W).
        targets: (B, K) distributions.
        alpha: Of the Beta distribution; the paper takes 0.2.
        one_lambda: The authors' code: one λ for the whole batch.

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
