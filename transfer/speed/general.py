"""Speed-ups for any model: memory, memory layout, and the optimizer's step."""

from __future__ import annotations

from typing import Any

import torch

from backbones.runtime import fused_sgd
from backbones.runtime.allocation import keep_freed_memory
from backbones.runtime.precision import lay_out_channels_last
from transfer.speed.part import Inactive, Part, computed_dtype, require_gpu


class KeptMemory(Part):
    """Keeps freed memory in the process, so that the kernel need not clear pages again."""

    def install(self, runner: Any) -> str:
        """Configure the C library."""
        if not keep_freed_memory():
            raise Inactive("the C library is not glibc")
        return "freed blocks up to 1 GiB stay in the process"


class FusedSteps(Part):
    """Makes SGD use torch's fused kernel: :mod:`backbones.runtime.fused_sgd`."""

    def __init__(self) -> None:
        self._optimizer: Any = None

    def install(self, runner: Any) -> str:
        """Replace the optimizer's steps, once."""
        require_gpu(runner)
        optimizer = getattr(runner.optim_wrapper, "optimizer", None)
        if optimizer is None:
            raise Inactive("nothing is trained by one optimizer")
        if type(optimizer) is not torch.optim.SGD:
            raise Inactive(f"the optimizer is {type(optimizer).__name__}, not torch's SGD")
        if optimizer is not self._optimizer:
            fused_sgd.take_over(optimizer)
            self._optimizer = optimizer
        return "steps of SGD"


class ChannelsLastMaps(Part):
    """Lays out weights and maps channels-last in bfloat16."""

    def install(self, runner: Any) -> str:
        """Convert the weights; maps follow."""
        if computed_dtype(runner) is not torch.bfloat16:
            raise Inactive("it applies only to bfloat16")
        lay_out_channels_last(runner)
        return "weights are laid out channels-last"
