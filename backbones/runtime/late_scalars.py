"""Numbers that a GPU computes, read when they are there instead of waited for.

A training that reads its loss after each step stands still until the GPU has done all of it, and
the GPU stands still while the next step is made ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Told = list[tuple[Any, dict[str, float]]]
"""Labels, each with its numbers, in the order in which they were given."""


class LateScalars:
    """Scalars by name, given step by step; what a GPU computes is told a step later.

    On the CPU they are told at once.
    """

    def __init__(self) -> None:
        self._waiting: tuple[Any, tuple[str, ...], Tensor, torch.cuda.Event] | None = None

    def add(self, label: Any, scalars: Mapping[str, Tensor]) -> Told:
        """Take a step's scalars.

        Args:
            label: Told again with them.
            scalars: Tensors of one value each, all on one device.

        Returns:
            All that is there by now: on a GPU the step's before, on the CPU this one's.
        """
        told = self.flush()
        values = [value.detach() for value in scalars.values()]
        if not values or not _is_of_gpu(values[0]):
            return [*told, (label, dict(zip(scalars, map(float, values), strict=True)))]
        together = torch.stack([value.float().reshape(()) for value in values])
        host = together.to("cpu", non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self._waiting = label, tuple(scalars), host, copied
        return told

    def flush(self) -> Told:
        """What was not told yet; waits for it."""
        if self._waiting is None:
            return []
        label, names, host, copied = self._waiting
        self._waiting = None
        copied.synchronize()
        return [(label, dict(zip(names, host.tolist(), strict=True)))]


def _is_of_gpu(tensor: Tensor) -> bool:
    return tensor.is_cuda
