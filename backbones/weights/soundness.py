"""Whether tensors can be weights: their type, and that every value is a number."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from backbones.common.errors import UserError

_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_NAMED = 3  # tensors in a sentence


def require_sound(tensors: Mapping[str, Tensor], source: str) -> None:
    """See that tensors hold values that a network can compute with in float32.

    A training would hide a fault: batch norms train on the statistics of the batch, and are judged
    on running ones that stay NaN for ever.

    Args:
        tensors: By timm's names, in the network's shapes.
        source: Where they came from.

    Raises:
        UserError: A tensor is of another type than a floating one, has no values or holds values
            that are NaN or infinite; or a variance is negative.
    """
    faults = [
        f"{name} {fault}" for name, tensor in tensors.items() if (fault := _fault(name, tensor))
    ]
    if not faults:
        return
    more = len(faults) - _NAMED
    raise UserError(
        f"The weights '{source}' cannot be used: {'; '.join(faults[:_NAMED])}"
        + (f"; and {more} more tensors" if more > 0 else "")
        + ". Give a checkpoint from before the fault, or other weights."
    )


def _fault(name: str, tensor: Tensor) -> str:
    """What is wrong with a tensor; empty if nothing."""
    if tensor.device.type == "meta":
        return "has a shape and no values"
    if tensor.layout != torch.strided:
        return f"is stored as {tensor.layout}"
    if tensor.dtype not in _TYPES:
        kind = str(tensor.dtype).removeprefix("torch.")
        return f"is of type {kind}, and weights are floating-point numbers"
    values = tensor.detach().float()
    if wrong := int((~values.isfinite()).sum()):
        return f"holds {_of(wrong, tensor)} NaN or infinite"
    if name.endswith("running_var") and (wrong := int((values < 0).sum())):
        return f"is a variance and holds {_of(wrong, tensor)} negative"
    return ""


def _of(count: int, tensor: Tensor) -> str:
    values = f"{count} value{'' if count == 1 else 's'} of {tensor.numel()}"
    return f"{values} that {'is' if count == 1 else 'are'}"


def is_count(tensor: Tensor) -> bool:
    """Whether a tensor is a whole number of batches, as a batch norm counts them."""
    return (
        tensor.device.type != "meta"
        and tensor.layout == torch.strided
        and tensor.dtype == torch.int64
        and tensor.ndim == 0
        and tensor.item() >= 0
    )


def are_equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same type, shape and values."""
    if one is other:
        return True
    if (one.dtype, one.shape, one.layout) != (other.dtype, other.shape, other.layout):
        return False
    if "meta" in (one.device.type, other.device.type) or one.layout != torch.strided:
        return False
    return torch.equal(one, other)
