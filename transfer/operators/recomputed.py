"""Gradients of an operator in plain torch: its forward is computed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from transfer.operators.float_types import widened


def write_gradients(
    function: Callable[..., Tensor],
    given: Sequence[Tensor],
    grad_output: Tensor,
    gradients: Sequence[Tensor],
) -> None:
    """Overwrite ``gradients`` by those of a function.

    Args:
        function: Computes the output.
        given: Its arguments; it is passed those of low precision in float32.
        grad_output: The gradient of its output.
        gradients: One for each of ``given``.
    """
    leaves = [widened(tensor).detach().requires_grad_() for tensor in given]
    with torch.enable_grad():
        output = function(*leaves)
    found = torch.autograd.grad(output, leaves, widened(grad_output))
    for gradient, of_leaf in zip(gradients, found, strict=True):
        gradient.copy_(of_leaf)
