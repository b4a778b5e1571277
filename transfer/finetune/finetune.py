"""One cell, from its config to its metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from backbones.runtime import ranks, state_files
from backbones.runtime.checkpoint import ResumableState
from backbones.runtime.progress import Curve, Listener, Ticker
from backbones.runtime.runner import QuietRunner, quiet_runner
from transfer.finetune import final_weights
from transfer.protocols.read_settings import HANDED_OVER


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a fine-tuning.

    Attributes:
        metrics: Metrics of the last epoch, never the best, in percent.
        curve: Losses over the training.
        evaluations: Metrics during training, if requested.
        seconds: Time in ``start_up``, ``train`` and ``evaluate``.
        images: Numbers of training images over all epochs and of test images.
        lr: The learning rate used, after linear scaling.
        batch_size: Global batch size.
        processes: Number of processes that trained together.
    """

    metrics: dict[str, float]
    curve: list[dict[str, float]]
    evaluations: list[dict[str, float]]
    seconds: dict[str, float]
    images: dict[str, int]
    lr: float
    batch_size: int
    processes: int


def finetune(
    cfg: Config,
    identity: str,
    work_dir: Path,
    *,
    save_minutes: float = 10.0,
    state_copy: str = "",
    evaluate_every: int = 0,
    listener: Listener | None = None,
    backends: tuple[str, ...] = (),
) -> Outcome:
    """Train, evaluate the final weights, and save them.

    The checkpoint of the finished training stays until the caller has recorded the outcome.

    Args:
        cfg: The config from :func:`transfer.protocols.compose.compose`.
        identity: The cell's id; only its own checkpoint is resumed.
        work_dir: Folder for the log and checkpoints.
        save_minutes: Checkpoint interval in minutes.
        state_copy: fsspec URL for a copy of the checkpoint; empty for none.
        evaluate_every: Epochs (iterations, if the protocol counts those) between evaluations during
            training, for the curve; 0 for none. The result does not depend on it.
        listener: Notified of every step.
        backends: MMEngine visualiser backends for curves, besides the log.

    Raises:
        UserError: Data or disk are unusable, or the loss is not a number.
        Interrupted: The training was asked to stop; its checkpoint is saved.
        Superseded: Another driver has taken the cell; nothing was written after that.
    """
    started = time.monotonic()
    folder = str(work_dir / state_files.FOLDER)
    state = ResumableState(folder, identity, save_minutes, state_copy)
    curve = Curve()
    runner = build_runner(
        cfg, work_dir, [state, curve], backends=backends, evaluate_every=evaluate_every
    )
    if listener:
        runner.register_hook(Ticker(listener), "LOWEST")
    ready = time.monotonic()
    runner.train()
    trained = time.monotonic()
    metrics = runner.val()
    seconds = {
        "start_up": ready - started,
        "train": curve.seconds,
        "evaluate": time.monotonic() - trained,
    }
    loop = runner.train_loop
    outcome = Outcome(
        metrics=metrics,
        curve=curve.points,
        evaluations=curve.evaluations[:-1],
        seconds=seconds,
        images={
            "train": loop.images,
            "test": len(runner.val_dataloader.dataset),
        },
        lr=runner.optim_wrapper.optimizer.param_groups[0]["initial_lr"],
        batch_size=loop.dataloader.batch_sampler.global_batch_size,
        processes=runner.world_size,
    )
    if ranks.is_main():
        final_weights.keep(runner.model, work_dir)
    return outcome


def build_runner(
    cfg: Config,
    work_dir: Path,
    hooks: list[Any],
    *,
    backends: tuple[str, ...] = (),
    evaluate_every: int = 0,
) -> QuietRunner:
    """The runner of a cell, with additional hooks."""
    settings = {key: cfg[key] for key in HANDED_OVER}
    if evaluate_every:
        settings["train_cfg"] = {**cfg.train_cfg, "val_interval": evaluate_every}
    return quiet_runner(
        work_dir=str(work_dir),
        seed=cfg.randomness.seed,
        default_hooks={"checkpoint": None, "logger": {"type": "LoggerHook", "interval": 50}},
        custom_hooks=[*cfg.custom_hooks, *hooks],
        visualizer=_visualizer(backends, work_dir),
        cfg=cfg,
        **settings,
    )


def _visualizer(backends: tuple[str, ...], work_dir: Path) -> dict[str, Any]:
    """MMEngine's own visualiser; without backends it writes nothing."""
    if not backends:
        return {"type": "NoFigure"}
    options = {"WandbVisBackend": {"init_kwargs": {"name": work_dir.name, "resume": "allow"}}}
    return {
        "type": "Visualizer",
        "vis_backends": [
            {"type": name, **options.get(name, {})} for name in ("LocalVisBackend", *backends)
        ],
    }
