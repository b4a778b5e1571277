"""Asynchronous copies of tensors to a GPU."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(device: torch.device, tensor: Tensor) -> Tensor:
    """A tensor on a device; copied to a GPU through pinned memory, asynchronously."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
