"""The number format of a training."""

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
    """The format of evaluation under autocast, from the config of the optimiser wrapper.

    None is the device's default: float16 on CUDA, which ``AmpOptimWrapper`` also trains in.
    """
    return torch.bfloat16 if optim_wrapper.get("type") == "Bfloat16OptimWrapper" else None


def evaluation_loop(val_cfg: Mapping[str, Any], optim_wrapper: Mapping[str, Any]) -> dict[str, Any]:
    """The config of an evaluation in the training's format.

    ``fp16`` switches autocast on, whatever its format. A loop that is not MMEngine's own is
    unchanged.
    """
    plain = val_cfg.get("type", "ValLoop") == "ValLoop"
    if plain and evaluation_dtype(optim_wrapper) == torch.bfloat16:
        return {**val_cfg, "type": "Bfloat16ValLoop"}
    return {**val_cfg}


@LOOPS.register_module()
class Bfloat16ValLoop(ValLoop):
    """MMEngine's loop with autocast to bfloat16 on every device.

    MMEngine uses the device's default format, which is float16 on CUDA.
    """

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Evaluate a batch; then the device has its default format again."""
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
    """Convert the model's weights to channels-last before anything runs."""

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Convert in place."""
        lay_out_channels_last(runner)


def lay_out_channels_last(runner: Any) -> None:
    """Convert the weights of a runner's model in place; activations follow.

    A distributed wrapper depends on the layout of its weights: if the layout changes, torch's
    wrapper returns wrong gradients from the first step. So it is rebuilt.
    """
    model = unwrapped(runner.model)
    model.to(memory_format=torch.channels_last)
    if model is not runner.model:
        runner.model = runner.wrap_model(runner.cfg.get("model_wrapper_cfg"), model)


def computed_in(values: Tensor) -> torch.dtype:
    """The precision of a convolution or product; autocast lowers all types but float64."""
    device = values.device.type
    if torch.is_autocast_enabled(device) and values.dtype is not torch.float64:
        return torch.get_autocast_dtype(device)
    return values.dtype
