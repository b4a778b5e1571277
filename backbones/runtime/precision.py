"""In which number format a cell computes, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, LOOPS, OPTIM_WRAPPERS
from mmengine.runner import ValLoop
from torch import Tensor, nn

from backbones.runtime.checkpoint import unwrapped


def evaluation_dtype(optim_wrapper: Mapping[str, Any]) -> torch.dtype | None:
    """The format of evaluation under autocast, by the config of the wrapper that trains.

    None is the device's own: float16 on CUDA, which ``AmpOptimWrapper`` trains in too.
    """
    return torch.bfloat16 if optim_wrapper.get("type") == "Bfloat16OptimWrapper" else None


def evaluation_loop(val_cfg: Mapping[str, Any], optim_wrapper: Mapping[str, Any]) -> dict[str, Any]:
    """The config of an evaluation in the format that is trained in.

    ``fp16`` says whether there is autocast, not to what. A loop that is not MMEngine's own stays.
    """
    plain = val_cfg.get("type", "ValLoop") == "ValLoop"
    if plain and evaluation_dtype(optim_wrapper) == torch.bfloat16:
        return {**val_cfg, "type": "Bfloat16ValLoop"}
    return {**val_cfg}


@LOOPS.register_module()
class Bfloat16ValLoop(ValLoop):
    """MMEngine's loop, whose autocast is to bfloat16 on every device.

    MMEngine asks torch for the device's format, which is float16 on CUDA unless it is set.
    """

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """One batch; the device has its own format back afterwards."""
        with torch.autocast(get_device(), torch.bfloat16, enabled=False):
            super().run_iter(idx, data_batch)


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
    """Lay the model's weights out channels-last before anything runs."""

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Convert in place."""
        lay_out_channels_last(runner)


def lay_out_channels_last(runner: Any) -> None:
    """Convert the weights of a runner's model in place; activations follow them.

    A wrapper of several processes knows the layout that it was built on: torch's, given another
    afterwards, returns wrong gradients from its first step. So it is built anew.
    """
    model = unwrapped(runner.model)
    model.to(memory_format=torch.channels_last)
    if model is not runner.model:
        runner.model = runner.wrap_model(runner.cfg.get("model_wrapper_cfg"), model)


def computed_in(values: Tensor) -> torch.dtype:
    """The precision of a convolution or product of values; autocast lowers all but float64."""
    device = values.device.type
    if torch.is_autocast_enabled(device) and values.dtype is not torch.float64:
        return torch.get_autocast_dtype(device)
    return values.dtype
