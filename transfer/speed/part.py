"""The interface of a part of the speed layer, and the exception for a run without use for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from mmengine.optim import OptimWrapper

from backbones.runtime.precision import computed_in, evaluation_dtype

Known = TypeVar("Known")


class Inactive(Exception):
    """A part is not installed; the text gives the reason, as a clause for the log."""


class Part:
    """One faster computation, with the same results up to rounding."""

    def install(self, runner: Any) -> str:
        """Replace parts of the runner; called before each training, validation and test.

        Returns:
            What was replaced, for the log.

        Raises:
            Inactive: The run has nothing to replace.
        """
        raise NotImplementedError

    def before_train(self, runner: Any) -> None:
        """Called before the training loop."""

    def after_train(self, runner: Any) -> None:
        """Called after the training loop."""

    def before_evaluation(self) -> None:
        """Called before an evaluation."""

    def after_evaluation(self) -> None:
        """Called after an evaluation."""

    def after_run(self) -> None:
        """Called at the end of the runner; restores what does not belong to it."""

    def require_sound(self, runner: Any) -> None:
        """Called before a checkpoint is saved; raises if the training cannot be trusted."""

    def memory_advice(self, runner: Any) -> str:
        """Further advice when memory runs out; empty if there is none."""
        return ""


def first_unlike(requirements: Iterable[tuple[bool, str]]) -> str:
    """The text of the first requirement that does not hold; empty if all hold.

    Given a generator, a requirement is checked only if those before it hold.
    """
    return next((unlike for holds, unlike in requirements if not holds), "")


def known(
    modules: Iterable[Any], kind: type[Known], unlike: Callable[[Known], str]
) -> Sequence[Known]:
    """The modules of exactly one class that a part can replace.

    Args:
        modules: All modules of a model.
        kind: The class.
        unlike: The difference of a module from what the part supports; empty for none.

    Raises:
        Inactive: The model has none.
    """
    of_kind = [module for module in modules if type(module) is kind]
    if not of_kind:
        raise Inactive(f"the model has no {kind.__name__}")
    differences = [unlike(module) for module in of_kind]
    if all(differences):
        raise Inactive(differences[0])
    return [module for module, unlike in zip(of_kind, differences, strict=True) if not unlike]


def require_cpu(runner: Any) -> None:
    """Check that the model is on the CPU."""
    if device_of(runner).type != "cpu":
        raise Inactive("it applies only to the CPU, and the model is on a GPU")


def require_gpu(runner: Any) -> None:
    """Check that the model is on a GPU."""
    if device_of(runner).type != "cuda":
        raise Inactive("it applies only to a GPU, and the model is on the CPU")


def device_of(runner: Any) -> torch.device:
    """The device that a runner's model is on."""
    parameter = next(runner.model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def computed_dtype(runner: Any) -> torch.dtype:
    """The number format of a run's convolutions."""
    values = torch.empty(0, device=device_of(runner))
    wrapper = getattr(runner, "optim_wrapper", None)
    if isinstance(wrapper, OptimWrapper):
        with wrapper.optim_context(runner.model):
            return computed_in(values)
    if isinstance(wrapper, Mapping):  # for a runner that only evaluates
        return evaluation_dtype(wrapper) or computed_in(values)
    return computed_in(values)
