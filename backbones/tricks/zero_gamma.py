"""Zero gamma (section 3.1): the last BN of a residual block starts with γ = 0.

The block then returns its shortcut, and the network starts as a shallow one. timm's ResNets do this
by default, so rows without the trick must switch it off.
"""

from __future__ import annotations

from torch import nn

from backbones.tricks.trick import Trick, register


@register("zero_gamma")
class ZeroGamma(Trick):
    """Starts residual blocks as the identity; the value is True."""

    order = 3.12

    def initialise(self, network: nn.Module) -> None:
        """Set the last γ of every residual block to 0."""
        set_last_gamma(network, 0.0)


def set_last_gamma(network: nn.Module, value: float) -> int:
    """Set the last scale of every residual block: 0 with the trick, 1 without.

    Returns:
        The number of blocks that have one; 0 for networks without residual blocks.
    """
    blocks = [m for m in network.modules() if hasattr(m, "zero_init_last")]  # timm's mark
    for block in blocks:
        nn.init.constant_(_last_norm(block).weight, value)
    return len(blocks)


def _last_norm(block: nn.Module) -> nn.BatchNorm2d:
    for name in ("bn3", "bn2"):
        norm = getattr(block, name, None)
        if isinstance(norm, nn.BatchNorm2d):
            return norm
    raise TypeError(f"{type(block).__name__} has no known last batch norm")
