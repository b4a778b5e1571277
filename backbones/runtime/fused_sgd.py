"""SGD in one pass over weights, gradients and momenta."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor
from torch.optim.sgd import sgd

_SETTINGS = ("weight_decay", "momentum", "lr", "dampening", "nesterov", "maximize")


@HOOKS.register_module()
class FusedSgd(Hook):
    """Let torch's SGD use its fused kernel; see :func:`take_over`."""

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Replace the steps; an evaluation has no optimizer."""
        optimizer = getattr(runner.optim_wrapper, "optimizer", None)
        if type(optimizer) is torch.optim.SGD:
            take_over(optimizer)


def take_over(optimizer: torch.optim.SGD) -> None:
    """Let an optimizer use torch's fused kernel: few launches on a GPU, one pass on the CPU.

    The kernel reads the memory of weight, gradient and momentum in order, so all three need the
    same layout. On the CPU, torch 2.15 does not ensure that: if layouts differ, the update is
    wrong, and a channels-last gradient is copied needlessly. On a GPU, torch refuses different
    strides, even those of a dimension of size 1. So the kernel gets flat tensors in the order of
    the weight's memory.

    Results are bitwise equal, except that the last few values of a tensor may be rounded
    differently. Gradients are None after a step, as after ``zero_grad``.
    """
    optimizer.register_step_pre_hook(_Steps())


class _Steps:
    """Performs an optimiser's step and removes the gradients; the original step does nothing.

    A step with a closure is left to the optimiser. A loss scale is passed on to the kernel, which
    skips a step with infinite gradients.
    """

    def __init__(self) -> None:
        self._views: dict[Tensor, tuple[Any, Tensor, Tensor]] = {}

    def __call__(
        self, optimizer: torch.optim.SGD, given: tuple[Any, ...], named: dict[str, Any]
    ) -> None:
        """The optimiser's hook before a step."""
        if len(given) > 1 or named or not all(map(_is_fit, optimizer.param_groups)):
            return
        for group in optimizer.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            with torch.no_grad():
                views = [self._view(weight, _momentum(optimizer, weight)) for weight in weights]
                sgd(
                    [weight for weight, _ in views],
                    [_flat(weight.grad, weight) for weight in weights],
                    [momentum for _, momentum in views],
                    fused=True,
                    grad_scale=getattr(optimizer, "grad_scale", None),
                    found_inf=getattr(optimizer, "found_inf", None),
                    **{key: group[key] for key in _SETTINGS},
                )
            for weight in weights:
                weight.grad = None

    def _view(self, weight: Tensor, momentum: Tensor) -> tuple[Tensor, Tensor]:
        """Both as flat views, cached while their memory stays in place."""
        place = weight.data_ptr(), weight.stride(), momentum.data_ptr()
        known = self._views.get(weight)
        if known is None or known[0] != place:
            known = place, _flat(weight, weight), _flat(momentum, weight)
            self._views[weight] = known
        return known[1:]


def _is_fit(group: dict[str, Any]) -> bool:
    plain = group["momentum"] and not group["dampening"]
    return bool(plain) and all(map(_has_plain_memory, group["params"]))


def _has_plain_memory(weight: Tensor) -> bool:
    """Whether a weight is dense in CPU or GPU memory and its gradient is not sparse."""
    dense = weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last)
    sparse = weight.grad is not None and weight.grad.layout is not torch.strided
    return weight.device.type in ("cpu", "cuda") and dense and not sparse


def _momentum(optimizer: torch.optim.SGD, weight: Tensor) -> Tensor:
    """The momentum of a weight, in its layout; zero before the first step, which is equivalent."""
    state = optimizer.state[weight]
    momentum = state.get("momentum_buffer")
    if momentum is None:
        momentum = torch.zeros_like(weight)
    state["momentum_buffer"] = _laid_out_as(weight, momentum)
    return state["momentum_buffer"]


def _flat(values: Tensor, weight: Tensor) -> Tensor:
    """Values in the order of a weight's memory, without a copy if they have that order."""
    laid_out = _laid_out_as(weight, values)
    return laid_out.as_strided((laid_out.numel(),), (1,))


def _laid_out_as(weight: Tensor, values: Tensor) -> Tensor:
    if values.stride() == weight.stride() or _order(values) == _order(weight):
        return values
    return torch.empty_like(weight).copy_(values)


def _order(values: Tensor) -> list[int]:
    """Strides of the dimensions, except those of size 1, whose strides are arbitrary."""
    return [step for size, step in zip(values.shape, values.stride(), strict=True) if size > 1]
