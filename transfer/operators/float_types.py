"""The floating-point type in which an operator computes."""

from __future__ import annotations

import torch
from torch import Tensor

_REDUCED = (torch.float16, torch.bfloat16)


def widened(tensor: Tensor) -> Tensor:
    """The tensor, in float32 if it is of lower precision.

    Coordinates need float32: in float16, those above 1024 have no half pixels. torchvision's
    kernels lack bfloat16.
    """
    return tensor.float() if tensor.dtype in _REDUCED else tensor
