"""The stage of each parameter of a network, from the graph of its maps."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from backbones.weights.weights import plain_name


def stages(
    network: nn.Module, maps: list[Tensor], *, before: list[Tensor], first: str
) -> dict[str, int]:
    """Assign each parameter to the first map that depends on it.

    This works with all of timm's feature extractors, and on the meta device.

    Args:
        network: The network.
        maps: What stages 1 to 4 return.
        before: Maps of the stem, at a smaller stride; the last one counts.
        first: Without such a map: the last module of stage 1, such as ``blocks.1``, or what
            holds all blocks. What feeds them is the stem.

    Returns:
        By name of the parameter: 0 for the stem, 1 to 4 for a stage. What no map depends on counts
        as stage 4.
    """
    stage_of = {name: len(maps) for name, _ in network.named_parameters()}
    ends = [*before[-1:], *maps]
    for stage, end in reversed(list(enumerate(ends, len(maps) + 1 - len(ends)))):
        used = _leaves(end)
        stage_of.update({name: stage for name, of in network.named_parameters() if id(of) in used})
    if not before:
        own = _with_those_before(first)
        start = [name for name, stage in stage_of.items() if stage == 1]
        stem = [name for name in start if not plain_name(name).startswith(own)]
        if stem == start:  # Twins and MViT state a module that they lack
            stem = [name for name in start if plain_name(name).startswith("patch_embed")]
        stage_of.update(dict.fromkeys(stem, 0))
    return stage_of


def _with_those_before(module: str) -> tuple[str, ...]:
    """Beginnings of the plain names of a module and of those before it in its list."""
    holder, _, number = module.rpartition(".")
    if not number.isdecimal():
        return (plain_name(f"{module}."),)
    return tuple(plain_name(f"{holder}.{place}.") for place in range(int(number) + 1))


def _leaves(tensor: Tensor) -> set[int]:
    """Ids of the parameters that a tensor depends on, by autograd's graph."""
    nodes: set[Any] = {tensor.grad_fn}
    leaves: set[int] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            leaves.add(id(node.variable))
        found = {following for following, _ in getattr(node, "next_functions", ())} - nodes
        nodes |= found
        waiting += found
    return leaves
