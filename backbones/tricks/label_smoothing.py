"""Label smoothing (section 5.2, equation 4): q_i = 1 − ε for the true class, ε / (K − 1) otherwise.

With ε = 0.1 and K = 1000 the optimal logit of the true class stands log((K − 1)(1 − ε) / ε) ≈ 9.1
above the others. The authors' code spreads ε over all K classes instead, 1 − ε + ε/K and ε/K, which
is also torch's ``CrossEntropyLoss(label_smoothing=…)``.
"""

from __future__ import annotations

import torch
from torch import Tensor


def smooth_targets(labels: Tensor, classes: int, epsilon: float, over_all: bool = False) -> Tensor:
    """Target distributions.

    Args:
        labels: (B,) integer labels, 0 to classes - 1.
        classes: K.
        epsilon: 0 for one-hot targets.
        over_all: The authors' code: ε / K for every class instead of ε / (K − 1) for the others.

    Returns:
        (B, K), each row sums to 1.
    """
    low = epsilon / (classes if over_all else classes - 1)
    high = 1 - epsilon + low if over_all else 1 - epsilon
    targets = torch.full((len(labels), classes), low, device=labels.device)
    return targets.scatter_(1, labels[:, None], high)
