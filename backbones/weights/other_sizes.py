"""Weights of a network for images of another size: which of timm's names they have."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import timm
from torch import Tensor

from backbones.weights.blueprint import Blueprint, blueprint

_OF_SIZE = ("pos_embed", "relative_position_bias_table")
"""Endings of the names of tensors whose shape is that of an image or a window."""

_SIZE = re.compile(r"(?<=window)\d+|(?<=_)\d+$")
"""A size in a name of timm's, such as swin_tiny_patch4_window7_224."""


def way_out(mismatched: Sequence[str], found: Mapping[str, Tensor], plan: Blueprint) -> str:
    """What to do with weights that fit a network except for the size of its images or windows.

    Args:
        mismatched: Names of all tensors of another shape.
        found: The tensors of the file.
        plan: The network.

    Returns:
        Sentences; empty if the weights differ in something else.
    """
    if not mismatched or not all(name.endswith(_OF_SIZE) for name in mismatched):
        return ""
    pattern = re.compile(r"\d+".join(re.escape(part) for part in _SIZE.split(plan.architecture)))
    names = [name for name in timm.list_models() if pattern.fullmatch(name)]
    fitting = [name for name in names if _fit(found, blueprint(name))]
    return "They are for images or windows of another size. " + (
        f"Give the architecture '{fitting[0]}'; as a backbone it takes images of any size."
        if fitting
        else f"timm has no '{plan.architecture}' of that size: register one with timm "
        "(docs/networks.md), or give weights of its own size."
    )


def _fit(found: Mapping[str, Tensor], plan: Blueprint) -> bool:
    return all(
        name in found and tuple(found[name].shape) == plan.shapes[name] for name in plan.parts
    )
