"""Sides of a fine-tuning: ours, the toolbox's own runner, and torchvision's reference.

Ours and the toolbox's train the same resolved config on the same images at the same size in the
same batches, from random weights, and evaluate on the same test images.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.runner import Runner

from transfer.bench import torchvision_detection
from transfer.bench.breakdown import Stopwatch, completed
from transfer.bench.configs import config, stock_config, trained_images
from transfer.bench.pairs import STOCK_AMP, Done, Work
from transfer.finetune.finetune import finetune
from transfer.protocols.protocols import HEADLINE
from transfer.report.speed_tables import LEAVING_OUT
from transfer.speed.hook import PARTS


def ours(work: Work, place: Path) -> Done:
    """Run a cell like the driver, including what it writes to disk."""
    started = time.monotonic()
    watch = Stopwatch()
    cfg = config(work)
    configured = time.monotonic() - started
    with watch.watching_openmmlab():
        outcome = finetune(cfg, "bench", place)
    whole = time.monotonic() - started
    start_up = configured + outcome.seconds["start_up"]
    evaluate = outcome.seconds["evaluate"]
    seconds = {"start_up": start_up, "train": whole - start_up - evaluate, "evaluate": evaluate}
    return _done(
        work, seconds=seconds, watch=watch, metrics=outcome.metrics, images=outcome.images["train"]
    )


def stock(work: Work, place: Path) -> Done:
    """Run the same config with the toolbox's runner, loop, layers and metric, in float32 or amp."""
    started = time.monotonic()
    watch = Stopwatch()
    runner = Runner.from_cfg(stock_config(work, place))
    ready = time.monotonic()
    with watch.watching_openmmlab():
        runner.train()
        trained = time.monotonic()
        metrics = runner.val_loop.run()
    seconds = {
        "start_up": ready - started,
        "train": trained - ready,
        "evaluate": time.monotonic() - trained,
    }
    return _done(work, seconds=seconds, watch=watch, metrics=metrics, images=trained_images(runner))


def _done(
    work: Work, *, seconds: dict[str, float], watch: Stopwatch, metrics: Any, images: int
) -> Done:
    parts = {
        **watch.seconds,
        "start_up": seconds["start_up"],
        "evaluate": seconds["evaluate"],
    }
    name = HEADLINE[work.task]
    metric = next(v for k, v in metrics.items() if k.split("/")[-1] == name)
    return Done(
        seconds, completed(parts, sum(seconds.values())), float(metric), images, watch.steps
    )


SIDES: dict[str, Callable[[Work, Path], Done]] = {
    "ours": ours,
    "stock": stock,
    STOCK_AMP: stock,
    "torchvision": torchvision_detection.train,
    **{f"{LEAVING_OUT}{name}": ours for name in PARTS},
}
