"""What every part of the speed layer is, and how it says that a run has nothing for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from mmengine.optim import OptimWrapper

from backbones.runtime.precision import computed_in, evaluation_dtype

Known = TypeVar("Known")


class Inactive(Exception):
    """A part is not put in place; the text says why, as a clause for the log."""


class Part:
    """One thing that is computed faster, with the same results to rounding."""

    def install(self, runner: Any) -> str:
        """Replace what the runner has; called before each training, validation and test.

        Returns:
            What was replaced, for the log.

        Raises:
            Inactive: The run has nothing to replace.
        """
        raise NotImplementedError

    def before_train(self, runner: Any) -> None:
        """The training loop is about to begin."""

    def after_train(self, runner: Any) -> None:
        """It has ended."""

    def before_evaluation(self) -> None:
        """Images are about to be tested."""

    def after_evaluation(self) -> None:
        """They have been."""

    def after_run(self) -> None:
        """The runner is done; what is not the runner's own is put back."""

    def require_sound(self, runner: Any) -> None:
        """A checkpoint is about to be saved; raise where what was trained cannot be trusted."""

    def memory_advice(self, runner: Any) -> str:
        """What else helps where memory has run out; empty for nothing."""
        return ""


def first_unlike(requirements: Iterable[tuple[bool, str]]) -> str:
    """What the first requirement that does not hold says; empty where all hold.

    Given a generator, a requirement is only looked at where those before it hold.
    """
    return next((unlike for holds, unlike in requirements if not holds), "")


def known(
    modules: Iterable[Any], kind: type[Known], unlike: Callable[[Known], str]
) -> Sequence[Known]:
    """The modules of exactly one class that a part knows how to replace.

    Args:
        modules: All of a model.
        kind: The class.
        unlike: In what way a module differs from what the part knows; empty for none.

    Raises:
        Inactive: There is none.
    """
    of_kind = [module for module in modules if type(module) is kind]
    if not of_kind:
        raise Inactive(f"the model has no {kind.__name__}")
    differences = [unlike(module) for module in of_kind]
    if all(differences):
        raise Inactive(differences[0])
    return [module for module, unlike in zip(of_kind, differences, strict=True) if not unlike]


def require_cpu(runner: Any) -> None:
    """See that the model is on the CPU."""
    if device_of(runner).type != "cpu":
        raise Inactive("it is for the CPU, and the model is on a GPU")


def require_gpu(runner: Any) -> None:
    """See that the model is on a GPU."""
    if device_of(runner).type != "cuda":
        raise Inactive("it is for a GPU, and the model is on the CPU")


def device_of(runner: Any) -> torch.device:
    """The device that a runner's model is on."""
    parameter = next(runner.model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def computed_dtype(runner: Any) -> torch.dtype:
    """The number format that the convolutions of a run compute in."""
    values = torch.empty(0, device=device_of(runner))
    wrapper = getattr(runner, "optim_wrapper", None)
    if isinstance(wrapper, OptimWrapper):
        with wrapper.optim_context(runner.model):
            return computed_in(values)
    if isinstance(wrapper, Mapping):  # of a runner that only evaluates
        return evaluation_dtype(wrapper) or computed_in(values)
    return computed_in(values)
