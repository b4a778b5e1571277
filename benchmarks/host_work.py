"""The host's work in a training step of Faster R-CNN, by part, largest first.

    python benchmarks/host_work.py [--backbone ROW] [--data DATA] [--image-size PIXELS]

A GPU that waits for the host needs fewer operator calls, whatever their sizes. This counts the
calls that compute something (not views) in each part of a step, on any machine, with the step that
runs use on a GPU (``HostSampling``). There, ``GraphedFeatures`` replays the parts marked "graph",
and their share of the backward pass, with one call each, and ``FusedSgd`` updates all weights in a
few calls.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmengine.hooks import Hook
from torch.utils._python_dispatch import TorchDispatchMode

from backbones.common.arguments import require_at_least
from backbones.common.errors import UserError
from backbones.runtime.command import guarded
from transfer.bench.configs import config
from transfer.bench.pairs import Work
from transfer.finetune.finetune import build_runner
from transfer.speed.known_detectors import unlike
from transfer.speed.two_stage_step import TwoStageStep

WARM_UP = 3  # steps that are not counted
GRAPHED = ("backbone", "neck", "proposal head", "best proposals")


class Calls(TorchDispatchMode):
    """Counts operator calls by part; a part inside another counts for the inner one."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.parts = ["everything else"]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returned = func._schema.returns
        is_view = any(r.alias_info is not None and not r.alias_info.is_write for r in returned)
        self.counts[self.parts[-1]] += not is_view
        return func(*args, **(kwargs or {}))

    def within(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function whose calls count for a part."""

        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.parts.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.parts.pop()

        return counted


class Watch(Hook):
    """Counts the steps of a training after the first ones."""

    priority = "LOWEST"

    def __init__(self, calls: Calls) -> None:
        self.calls = calls
        self.steps = 0

    def before_train(self, runner: Any) -> None:
        """Install the step of a GPU, and name the parts."""
        model, within = runner.model, self.calls.within
        if why := unlike(model):
            raise UserError(f"This detector has no such step: {why}.")
        step = TwoStageStep(model)
        named = {
            (model.data_preprocessor, "forward"): "inputs",
            (model.backbone, "forward"): "backbone",
            (model.neck, "forward"): "neck",
            (model.rpn_head, "forward"): "proposal head",
            (step, "candidates"): "best proposals",
            (step, "_suppressed"): "suppression",
            (step, "_rpn_losses"): "proposal losses",
            (step, "_roi_losses"): "region losses",
            (runner.optim_wrapper, "backward"): "backward",
            (runner.optim_wrapper, "step"): "optimizer",
        }
        for (owner, name), part in named.items():
            setattr(owner, name, within(part, getattr(owner, name)))
        model.loss = step
        self.calls.__enter__()

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Begin after the first steps."""
        if runner.iter == WARM_UP:
            self.calls.counts.clear()
            self.steps = 0

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Count a step."""
        self.steps += 1

    def after_train(self, runner: Any) -> None:
        """Stop counting."""
        self.calls.__exit__(None, None, None)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet50_baseline")
    parser.add_argument("--data", default="sample")
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=16)
    return parser


def main() -> int:
    """Count and print; 0 if done, 2 if the user must correct something."""
    return guarded(run, build_parser().parse_args())


def run(args: argparse.Namespace) -> int:
    """Train some steps and print the table.

    Raises:
        UserError: The row, the data or a number cannot be used.
    """
    # Two images a step, and the first steps are not counted.
    require_at_least(args, {"image_size": 1, "images": 2 * WARM_UP + 1})
    work = Work(
        task="detection",
        side="ours",
        batch_size=2,
        precision="float32",
        workers=0,
        **vars(args),
    )
    calls = Calls()
    watch = Watch(calls)
    with tempfile.TemporaryDirectory() as place:
        build_runner(config(work), Path(place), [watch]).train()
    total = sum(calls.counts.values())
    print(f"{total / watch.steps:.0f} operator calls a step ({watch.steps} steps)")
    print("| part | calls a step | share |\n|---|---|---|")
    for part, count in calls.counts.most_common():
        note = " (graph)" if part in GRAPHED else " (FusedSgd)" if part == "optimizer" else ""
        print(f"| {part}{note} | {count / watch.steps:.0f} | {100 * count / total:.0f} % |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
