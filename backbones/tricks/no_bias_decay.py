"""No bias decay (section 3.1): weight decay on weights of convolutions and the FC layer only.

Biases, and γ and β of batch norms, have no weight decay.
"""

from __future__ import annotations

from backbones.tricks.trick import Groups, Trick, register


@register("bias_decay")
class NoBiasDecay(Trick):
    """No weight decay on one-dimensional parameters; the value is False."""

    order = 3.13

    def parameter_groups(self, groups: Groups) -> Groups:
        """Each group, split into parameters with and without weight decay."""
        return [part for group in groups for part in split_by_decay(group)]


def split_by_decay(group: dict) -> Groups:
    """Split a group of an optimiser.

    Returns:
        The group with weight decay, then the one without.
    """
    # Only weights of convolutions and linear layers have two or more dimensions.
    decayed = [parameter for parameter in group["params"] if parameter.ndim > 1]
    spared = [parameter for parameter in group["params"] if parameter.ndim <= 1]
    return [{**group, "params": decayed}, {**group, "params": spared, "weight_decay": 0.0}]
