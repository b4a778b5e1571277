"""SGD in one pass over weights, gradients and momenta."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class FusedSgd(Hook):
    """Let torch's SGD take its fused kernel on the CPU: the same bits in a third of the time.

    MMEngine builds optimisers by config, and their kernel is none of a config's business: whoever
    reads it should see what is computed.
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
