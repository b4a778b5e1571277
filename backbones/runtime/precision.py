"""In which number format a cell computes, and how."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, OPTIM_WRAPPERS
from torch import nn

from backbones.runtime.checkpoint import unwrapped


@OPTIM_WRAPPERS.register_module()
class Bfloat16OptimWrapper(OptimWrapper):
    """Autocast to bfloat16, on the CPU too; master weights, gradients and updates in float32.

    bfloat16 has float32's range, so no loss scaling is needed. (MMEngine's ``AmpOptimWrapper``
    refuses to work without a GPU.)
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The context of forward and loss."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield


@HOOKS.register_module()
class ChannelsLast(Hook):
    """Lay the model's weights out channels-last before anything runs.

    A wrapper of several processes knows the layout that it was built on: torch's, given another
    afterwards, returns wrong gradients from its first step. So it is built anew.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Convert in place; activations follow the weights."""
        model = unwrapped(runner.model)
        model.to(memory_format=torch.channels_last)
        if model is not runner.model:
            runner.model = runner.wrap_model(runner.cfg.get("model_wrapper_cfg"), model)
