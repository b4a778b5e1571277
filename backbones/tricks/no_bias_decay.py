"""No bias decay (section 3.1): weight decay on weights of convolutions and the FC layer only.

Biases, and γ and β of batch norms, are left alone.
"""

from __future__ import annotations

from typing import Any

from torch import nn


def parameter_groups(network: nn.Module, weight_decay: float, everywhere: bool) -> list[dict]:
    """Groups for an optimiser.

    Args:
        network: Whose parameters.
        weight_decay: Of the parameters that decay.
        everywhere: Without the trick: all of them.

    Returns:
        The group that decays, then, with the trick, the one that does not.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    if everywhere:
        return [{"params": trained, "weight_decay": weight_decay}]
    # Weights of convolutions and of linear layers have two dimensions or more; nothing else has.
    decayed: list[Any] = [p for p in trained if p.ndim > 1]
    spared: list[Any] = [p for p in trained if p.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
