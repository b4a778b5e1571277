"""A classifier's network with its head, from weights that include it."""

from __future__ import annotations

import timm
from torch import Tensor, nn

from backbones.common.errors import UserError
from backbones.weights.blueprint import blueprint, is_counter


def with_head(
    architecture: str,
    tensors: dict[str, Tensor],
    source: str,
    *,
    classes: int | None = None,
    otherwise: str = "",
) -> nn.Module:
    """Build a classifier.

    Args:
        architecture: timm's name of its network.
        tensors: Its tensors, as :func:`backbones.weights.weights.of_network` returns them.
        source: Where they come from, for errors.
        classes: The required number of classes; None for as many as the head has.
        otherwise: A sentence for the errors below: what the head is needed for.

    Raises:
        UserError: The weights have no head or a part of one, or it has another number of classes.
    """
    heads = [f"{head}weight" for head in blueprint(architecture).heads]
    absent = [name for name in heads if name not in tensors or not tensors[name].ndim]
    if absent or not heads:
        lacks = f"no '{absent[0]}': it is a backbone without" if absent else "a network without"
        raise UserError(f"'{source}' has {lacks} the classifier's head.{_then(otherwise)}")
    known = len(tensors[heads[0]])
    if classes not in (None, known):
        raise UserError(
            f"The head in '{source}' knows {known} classes, not {classes}.{_then(otherwise)}"
        )
    network = timm.create_model(architecture, num_classes=known)
    state = network.state_dict()
    for name, tensor in state.items():
        if name in tensors and tensors[name].shape == tensor.shape:
            state[name] = tensors[name]
        elif not is_counter(name):
            raise UserError(
                f"'{source}' has no '{name}' of the shape {tuple(tensor.shape)}.{_then(otherwise)}"
            )
    network.load_state_dict(state)
    return network


def _then(sentence: str) -> str:
    return f" {sentence}" if sentence else ""
