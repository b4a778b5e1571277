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
        first: Without such a map: the module of stage 1 without its number. What feeds it is the
            stem.

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
        own = plain_name(first) + "_"
        for name, stage in stage_of.items():
            if stage == 1 and not plain_name(name).startswith(own):
                stage_of[name] = 0
    return stage_of


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
