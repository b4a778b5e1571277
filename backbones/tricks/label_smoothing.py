"""Label smoothing (section 5.2, equation 4): q_i = 1 − ε for the true class, ε / (K − 1) otherwise.

With ε = 0.1 and K = 1000, the optimal logit of the true class is log((K − 1)(1 − ε) / ε) ≈ 9.1
above the others. The authors' code spreads ε over all K classes instead, 1 − ε + ε/K and ε/K, which
is also torch's ``CrossEntropyLoss(label_smoothing=…)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from backbones.tricks.trick import Trick, register


@register("label_smoothing")
class LabelSmoothing(Trick):
    """Softer targets; the value is ε."""

    order = 5.2

    def targets(self, targets: Tensor) -> Tensor:
        """Smoothed distributions, (B, K), from one-hot targets."""
        return smooth_targets(targets, self.value, over_all=self.authors_code)


def smooth_targets(targets: Tensor, epsilon: float, over_all: bool = False) -> Tensor:
    """Smoothed target distributions.

    Args:
        targets: (B, K), one-hot.
        epsilon: ε, 0 to 1.
        over_all: As in the authors' code: ε / K for every class instead of ε / (K − 1) for the
            others.

    Returns:
        (B, K), each row sums to 1.
    """
    classes = targets.shape[1]
    low = epsilon / (classes if over_all else classes - 1)
    high = 1 - epsilon + low if over_all else 1 - epsilon
    return torch.where(targets > 0, high, low)
