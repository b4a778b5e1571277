"""No bias decay (section 3.1): weight decay on weights of convolutions and the FC layer only.

Biases, and γ and β of batch norms, are left alone.
"""

from __future__ import annotations

from backbones.tricks.trick import Groups, Trick, register


@register("bias_decay")
class NoBiasDecay(Trick):
    """Weight decay spares one-dimensional parameters; the value is False."""

    order = 3.13

    def parameter_groups(self, groups: Groups) -> Groups:
        """Each group split into what decays and what does not."""
        return [part for group in groups for part in spare_vectors(group)]


def spare_vectors(group: dict) -> Groups:
    """A group of an optimiser, split.

    Returns:
        The group that decays, then the one that does not.
    """
    # Weights of convolutions and of linear layers have two dimensions or more; nothing else has.
    decayed = [parameter for parameter in group["params"] if parameter.ndim > 1]
    spared = [parameter for parameter in group["params"] if parameter.ndim <= 1]
    return [{**group, "params": decayed}, {**group, "params": spared, "weight_decay": 0.0}]
