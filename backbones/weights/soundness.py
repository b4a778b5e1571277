"""Checks that tensors can be weights: types and finite values."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from backbones.common.errors import UserError

_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_NAMED = 3  # tensors in a message


def require_sound(tensors: Mapping[str, Tensor], source: str) -> None:
    """Check that tensors have values that a network can use in float32.

    A training would hide a fault: batch norms train with batch statistics but are evaluated with
    running statistics, which would stay NaN.

    Args:
        tensors: By timm's names, in the network's shapes.
        source: Their source.

    Raises:
        UserError: A tensor does not have a floating-point type, has no values, or has NaN or
            infinite values; or a variance is negative.
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
    """What is wrong with a tensor; empty for nothing."""
    if tensor.device.type == "meta":
        return "has a shape but no values"
    if tensor.layout != torch.strided:
        return f"is stored as {tensor.layout}"
    if tensor.dtype not in _TYPES:
        kind = str(tensor.dtype).removeprefix("torch.")
        return f"is of type {kind}, but weights are floating-point numbers"
    values = tensor.detach().float()
    if wrong := int((~values.isfinite()).sum()):
        return f"has {_of(wrong, tensor)} NaN or infinite"
    if name.endswith("running_var") and (wrong := int((values < 0).sum())):
        return f"is a variance but has {_of(wrong, tensor)} negative"
    return ""


def _of(count: int, tensor: Tensor) -> str:
    values = f"{count} value{'' if count == 1 else 's'} of {tensor.numel()}"
    return f"{values} that {'is' if count == 1 else 'are'}"


def is_count(tensor: Tensor) -> bool:
    """Whether a tensor is a count of batches, as in a batch norm."""
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


def is_stored(tensor: Tensor) -> bool:
    """Whether a file has bytes for every value: an expanded tensor can have any size."""
    if tensor.layout != torch.strided or tensor.device.type == "meta":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
