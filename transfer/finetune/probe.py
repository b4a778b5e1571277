"""A timed probe: a few steps of a cell, extrapolated to the whole cell."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook

from backbones.common.atomic_write import write_atomically
from backbones.common.hardware import cuda_devices
from backbones.runtime.memory import PeakMemory
from backbones.zoo.entry import IMAGENET_MEAN, IMAGENET_STD
from transfer import openmmlab  # noqa: F401  (registers everything, operators first)
from transfer.finetune.finetune import build_runner
from transfer.plan.probes import folder
from transfer.plan.request import load_data
from transfer.protocols import compose
from transfer.records import provenance
from transfer.records.cells import Task
from transfer.speed.two_stage_step import TwoStageStep

_STEPS = 3, 5
"""Number of warm-up steps, and of timed steps."""

_STEPS_ON_A_GPU = 60, 20
"""The same for a detector's training, where frequent batch sizes need graphs first."""


class _Enough(Exception):
    """Raised when all steps are timed."""


class _Stopwatch(Hook):
    """Times a few training steps and evaluation batches, then stops the run."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.times: list[float] = []
        self._warm_up, self._counted = _STEPS

    def seconds_a_step(self) -> float:
        """Mean of the timed steps; if there are fewer, of all but a few."""
        enough = len(self.times) > self._warm_up + 1
        first = self._warm_up if enough else min(_STEPS[0], len(self.times) - 2)
        counted = self.times[first:]
        return (counted[-1] - counted[0]) / (len(counted) - 1)

    def before_train(self, runner: Any) -> None:
        """Start the clock."""
        graphs = isinstance(runner.model.loss, TwoStageStep) and cuda_devices()
        self._warm_up, self._counted = _STEPS_ON_A_GPU if graphs else _STEPS
        self.times = [time.monotonic()]

    def before_val(self, runner: Any) -> None:
        """Start the clock."""
        self._warm_up, self._counted = _STEPS
        self.times = [time.monotonic()]

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """Time a training step."""
        self._tick()

    def after_val_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """Time an evaluation batch."""
        self._tick()

    def _tick(self) -> None:
        self.times.append(time.monotonic())
        if len(self.times) > self._warm_up + self._counted:
            raise _Enough


def probe(task: Task) -> Path:
    """Time a cell's network with random weights on the cell's data; nothing is recorded.

    Returns:
        The file in the cache that later estimates use.

    Raises:
        UserError: The data set is unusable.
    """
    started = time.monotonic()
    cell = task.cell
    mean, std = ([255 * value for value in values] for values in (IMAGENET_MEAN, IMAGENET_STD))
    cfg = compose.compose(
        cell, load_data(task.data, task.data_root), weights="", mean=tuple(mean), std=tuple(std)
    )
    watch, memory = _Stopwatch(), PeakMemory()
    with tempfile.TemporaryDirectory() as place:
        runner = build_runner(cfg, Path(place), [watch])
        start_up = time.monotonic() - started
        # Several processes share an epoch's images, so an iteration is one global batch.
        shares = cell.processes if runner.train_loop.by_epoch else 1
        train = _timed(runner.train, watch) * runner.max_iters / shares
        evaluate = _timed(runner.val, watch) * len(runner.val_dataloader) / cell.processes
    content = {
        "cell": {**cell.plain(), "id": cell.id},
        "seconds": {"start_up": start_up, "train": train, "evaluate": evaluate},
        "memory": memory.peaks(),
        "hardware": provenance.machine(),
    }
    path = folder() / f"{cell.id}.json"
    write_atomically(path, json.dumps(content, indent=1).encode())
    return path


def _timed(run: Any, watch: _Stopwatch) -> float:
    with contextlib.suppress(_Enough):
        run()
    return watch.seconds_a_step()
