"""The required names and shapes of a classifier's state dict, from timm's network."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

import timm
import torch

from backbones.zoo.networks import require_known, unusable

_NOT_OF_MAPS = ("attn_pool", "aux", "Aux", "classifier", "fc", "global_pool", "head")
"""Beginnings of the names of pools and heads, on which no map depends."""


class Blueprint(NamedTuple):
    """The entries of a network's state dict.

    Attributes:
        architecture: timm's name of the network.
        shapes: The shape of each entry, in the network's order.
        heads: Prefixes of the names of the classifier's heads, which a backbone lacks.
        parts: Names that complete weights must have: all but heads and counters.
        tops: First parts of the names, and of those, but for pools and heads, that timm's networks
            of this kind may have but this one leaves empty, such as a ViT's ``norm_pre``.
    """

    architecture: str
    shapes: dict[str, tuple[int, ...]]
    heads: tuple[str, ...]
    parts: frozenset[str]
    tops: frozenset[str]

    def is_held_by(self, names: Collection[str]) -> bool:
        """Whether ``names`` include most of the network's parts."""
        return 2 * sum(part in names for part in self.parts) > len(self.parts)


@lru_cache(maxsize=32)
def blueprint(architecture: str) -> Blueprint:
    """Look up a network, without memory for its tensors.

    Raises:
        UserError: timm has no such network, or it cannot be built.
    """
    require_known(architecture)
    try:
        with torch.device("meta"):
            classifier = timm.create_model(architecture)
    except Exception as error:
        raise unusable(architecture, error) from error
    config = getattr(classifier, "pretrained_cfg", None) or {}
    names = config.get("classifier") or ()
    heads = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    shapes = {name: tuple(tensor.shape) for name, tensor in classifier.state_dict().items()}
    parts = frozenset(
        name for name in shapes if not (heads and name.startswith(heads)) and not is_counter(name)
    )
    unset = [name for name, value in vars(classifier).items() if value is None]
    empty = {*unset, *dict(classifier.named_children())}
    tops = {name.split(".")[0] for name in shapes}
    tops |= {name for name in empty if not name.startswith(_NOT_OF_MAPS)}
    return Blueprint(architecture, shapes, heads, parts, frozenset(tops))


def is_counter(name: str) -> bool:
    """Whether an entry is a batch norm's count of batches.

    Weights are complete without it: only a batch norm that averages over all batches reads it.
    """
    return name.endswith("num_batches_tracked")
