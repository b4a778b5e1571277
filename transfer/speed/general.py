"""What any model's training gains from: memory, layout of maps, and the optimizer's step."""

from __future__ import annotations

from typing import Any

import torch

from backbones.runtime import fused_sgd
from backbones.runtime.allocation import keep_freed_memory
from backbones.runtime.precision import lay_out_channels_last
from transfer.speed.part import Inactive, Part, computed_dtype


class KeptMemory(Part):
    """Keep freed memory for the process, so that the kernel need not clear its pages anew."""

    def install(self, runner: Any) -> str:
        """Ask the C library for it."""
        if not keep_freed_memory():
            raise Inactive("the C library is not glibc")
        return "freed blocks of up to a GiB stay with the process"


class FusedSteps(Part):
    """Let SGD update all weights by torch's fused kernel: :mod:`backbones.runtime.fused_sgd`."""

    def __init__(self) -> None:
        self._optimizer: Any = None

    def install(self, runner: Any) -> str:
        """Take the optimizer's steps over, once."""
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
    """Lay weights and maps out channels-last where they are computed in bfloat16."""

    def install(self, runner: Any) -> str:
        """Convert the weights; maps follow."""
        if computed_dtype(runner) is not torch.bfloat16:
            raise Inactive("it is for bfloat16")
        lay_out_channels_last(runner)
        return "weights are laid out channels-last"
