"""Reports the progress of a training to a listener and into the record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from mmengine.hooks import Hook

from backbones.common.errors import UserError
from backbones.runtime import ranks
from backbones.runtime.checkpoint import ResumableState
from backbones.runtime.late_scalars import Labelled, LateScalars

Listener = Callable[[str, int, int], None]
"""Called with a phase, such as ``"train"``, the steps done, and the total number of steps."""

HEADLINES = {"top1": "top-1", "mAP": "mAP", "mIoU": "mIoU"}
"""Metrics that an evaluation reports to a listener, with their display names."""

_POINTS = 100


def notifier(listener: Listener | None) -> Callable[[str], None]:
    """A function that sends messages to a listener, if there is one."""
    return lambda sentence: listener(sentence, 0, 0) if listener else None


class Curve(Hook):
    """The training curve: mean losses over each hundredth, and evaluations during training.

    Stops a training whose loss is not finite; on a GPU this is known one step later.

    Attributes:
        points: ``{"iteration", "loss", "lr", …}``, one for each hundredth of the training.
        evaluations: ``{"iteration", "<metric>", …}``.
        seconds: Time of training iterations, including waiting for data.
    """

    priority = "BELOW_NORMAL"
    state_name = "curve"

    def __init__(self) -> None:
        self.points: list[dict[str, float]] = []
        self.evaluations: list[dict[str, float]] = []
        self.seconds = 0.0
        self._sums: dict[str, float] = {}
        self._count = 0
        self._since = time.monotonic()
        self._late = LateScalars()
        self._runner: Any = None

    def state_dict(self) -> dict[str, Any]:
        """Plain data for the checkpoint, up to the current iteration."""
        self._take(self._late.flush())
        return {
            "points": self.points,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
            "sums": self._sums,
            "count": self._count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a checkpoint's data."""
        self.points, self.evaluations = state["points"], state["evaluations"]
        self.seconds, self._sums, self._count = state["seconds"], state["sums"], state["count"]

    def before_train_epoch(self, runner: Any) -> None:
        """Start the clock; evaluations between epochs do not count."""
        self._since = time.monotonic()

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any, outputs: dict[str, Any]
    ) -> None:
        """Add this iteration's losses; at each hundredth, keep their mean."""
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now
        self._runner = runner
        done, total = runner.iter + 1, runner.max_iters
        ends_hundredth = done * _POINTS // total > runner.iter * _POINTS // total
        # Of the first parameter: "base_lr", if present, ignores linear scaling.
        lr = runner.optim_wrapper.get_lr()["lr"][0] if ends_hundredth else None
        self._take(self._late.add((done, lr), outputs))

    def after_train(self, runner: Any) -> None:
        """Add the last iteration's losses."""
        self._take(self._late.flush())

    def _take(self, earlier: Labelled) -> None:
        """Add losses of iterations; one with a learning rate ends a hundredth of the training."""
        for (done, lr), its_losses in earlier:
            losses = ranks.means(its_losses)
            for name, value in losses.items():
                self._sums[name] = self._sums.get(name, 0.0) + value
            self._count += 1
            if not math.isfinite(losses["loss"]):
                raise UserError(
                    f"The loss is {losses['loss']} at iteration {done} of "
                    f"{self._runner.max_iters}: the training diverged. "
                    f"{_last_checkpoint(self._runner)} The same settings would diverge again: "
                    "lower the learning rate (in a suite: [overrides] "
                    '"optim_wrapper.optimizer.lr"), or compute with --precision float32.'
                )
            if lr is not None:
                means = {name: total / self._count for name, total in self._sums.items()}
                self.points.append({"iteration": done, "lr": lr, **means})
                self._sums, self._count = {}, 0

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Record the evaluation."""
        self.evaluations.append({"iteration": runner.iter, **(metrics or {})})
        self._since = time.monotonic()


def _last_checkpoint(runner: Any) -> str:
    """The last checkpoint of a training, as a sentence."""
    for hook in runner.hooks:
        if isinstance(hook, ResumableState) and hook.saved_iteration is not None:
            return (
                f"The last good checkpoint, of iteration {hook.saved_iteration}, is in "
                f"'{hook.folder}'."
            )
    return "No checkpoint was saved before that."


class Ticker(Hook):
    """Reports every step of training and evaluation to a listener."""

    priority = "LOWEST"

    def __init__(self, listener: Listener) -> None:
        self.listener = listener

    def before_train(self, runner: Any) -> None:
        """Report the first iteration, which is not 0 after a resume."""
        self.listener("train", runner.iter, runner.max_iters)

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """Report a training step."""
        self.listener("train", runner.iter + 1, runner.max_iters)

    def after_val_iter(self, runner: Any, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Report a batch of the test set."""
        self.listener("evaluate", batch_idx + 1, len(runner.val_dataloader))

    def after_val_epoch(self, runner: Any, metrics: dict[str, float] | None = None) -> None:
        """Report the metric of an evaluation during training; the last one is in the record."""
        if runner.iter < runner.max_iters:
            where = f"at step {runner.iter} of {runner.max_iters}"
            for name, shown in HEADLINES.items():
                if metrics and name in metrics:
                    self.listener(f"{shown} {metrics[name]:.2f} % {where}", 0, 0)
