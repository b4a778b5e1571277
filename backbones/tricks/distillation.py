"""Distillation (section 5.3): ℓ(p, softmax(z)) + T² ℓ(softmax(r / T), softmax(z / T)), T = 20.

z are the student's logits, r the teacher's, p the target distribution, ℓ the cross entropy. The
teacher is frozen, in eval mode, and sees the same (mixed) images. The authors' code weights both
terms by one half.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from backbones.tricks.trick import Trick, register

TEMPERATURE = 20.0


def distillation_loss(
    logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    halved: bool = False,
) -> Tensor:
    """The loss, averaged over the batch.

    Args:
        logits: (B, K), of the student.
        teacher_logits: (B, K).
        targets: (B, K) distributions.
        halved: As in the authors' code: half of each term.
    """
    hard = F.cross_entropy(logits, targets)
    softened = (teacher_logits / TEMPERATURE).softmax(dim=1)
    soft = F.cross_entropy(logits / TEMPERATURE, softened)
    weight = 0.5 if halved else 1.0
    return weight * (hard + TEMPERATURE**2 * soft)


class Teacher(nn.Module):
    """A frozen network that stays in eval mode, whatever the mode of its student."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Teacher:
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Logits, (B, K), of (B, 3, H, W) images."""
        return self.network(images)


@register("teacher")
class Distillation(Trick):
    """Adds a teacher's logits to the labels; the value is the teacher's network."""

    order = 5.3

    def __init__(self, value: nn.Module, *, authors_code: bool = False) -> None:
        super().__init__(Teacher(value), authors_code=authors_code)

    def loss(self, loss: Tensor, logits: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        """The loss with the teacher's term, a scalar."""
        return distillation_loss(
            logits, self.value(images).float(), targets, halved=self.authors_code
        )

    def to(self, *args: Any, **kwargs: Any) -> None:
        """Follow the student."""
        self.value.to(*args, **kwargs)
