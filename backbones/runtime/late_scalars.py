"""Reads numbers that a GPU computes one step later, without waiting for them.

If a training reads its loss after each step, it waits until the GPU has finished the step, and the
GPU is idle while the next step is prepared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Labelled = list[tuple[Any, dict[str, float]]]
"""Labels with their scalars, in order."""


class LateScalars:
    """Collects named scalars step by step; those of a GPU are returned one step later.

    Those of a CPU are returned at once.
    """

    def __init__(self) -> None:
        self._waiting: tuple[Any, tuple[str, ...], Tensor, torch.cuda.Event] | None = None

    def add(self, label: Any, scalars: Mapping[str, Tensor]) -> Labelled:
        """Add the scalars of a step.

        Args:
            label: Returned with them.
            scalars: Tensors of one value each, all on one device.

        Returns:
            The available scalars: of the previous step on a GPU, of this step on the CPU.
        """
        earlier = self.flush()
        values = [value.detach() for value in scalars.values()]
        if not values or not _is_of_gpu(values[0]):
            return [*earlier, (label, dict(zip(scalars, map(float, values), strict=True)))]
        together = torch.stack([value.float().reshape(()) for value in values])
        host = together.to("cpu", non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self._waiting = label, tuple(scalars), host, copied
        return earlier

    def flush(self) -> Labelled:
        """Return the pending scalars; waits for them."""
        if self._waiting is None:
            return []
        label, names, host, copied = self._waiting
        self._waiting = None
        copied.synchronize()
        return [(label, dict(zip(names, host.tolist(), strict=True)))]


def _is_of_gpu(tensor: Tensor) -> bool:
    return tensor.is_cuda
