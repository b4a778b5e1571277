"""Sides of a fine-tuning: ours, and the toolbox's own runner.

Both train the same resolved config on the same images at the same size in the same batches, from
random weights, and evaluate on the same test images.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from backbones.augmentation import MEAN, STD
from transfer import openmmlab  # noqa: F401  (registers everything, operators first)
from transfer.bench.pairs import Work
from transfer.engine import compose
from transfer.engine.finetune import finetune
from transfer.plan.request import Request, load_data, make_plan

_TESTED = 0.125
"""Share of the trained images that is tested; VOC's own share would make runs long."""


def ours(work: Work, place: Path) -> dict[str, float]:
    """A cell as the driver runs it, one pass."""
    return finetune(_config(work), "bench", place).seconds


def stock(work: Work, place: Path) -> dict[str, float]:
    """The same config, in float32, by the toolbox's own runner, loop, layers and metric."""
    started = time.monotonic()
    cfg = _config(work)
    cfg.optim_wrapper.type = "OptimWrapper"
    cfg.val_cfg = ConfigDict(type="ValLoop")
    cfg.custom_hooks = []
    cfg.train_cfg = ConfigDict(type="EpochBasedTrainLoop", max_epochs=1, val_interval=2)
    if work.task == "detection":
        cfg.train_dataloader.batch_sampler = ConfigDict(type="mmdet.AspectRatioBatchSampler")
    else:
        del cfg.train_dataloader["batch_sampler"]
    cfg.train_dataloader.drop_last = True
    evaluator = (
        ConfigDict(type="mmdet.VOCMetric", metric="mAP", eval_mode="11points")
        if work.task == "detection"
        else ConfigDict(type="mmseg.IoUMetric", iou_metrics=["mIoU"])
    )
    cfg.val_evaluator = evaluator
    cfg.work_dir = str(place)
    for part in ("test_dataloader", "test_cfg", "test_evaluator", "visualizer", "vis_backends"):
        cfg.pop(part, None)
    cfg.default_hooks.pop("visualization", None)
    runner = Runner.from_cfg(cfg)
    ready = time.monotonic()
    runner.train()
    trained = time.monotonic()
    runner.val_loop.run()
    return {
        "start_up": ready - started,
        "train": trained - ready,
        "evaluate": time.monotonic() - trained,
    }


def _config(work: Work) -> Config:
    """The toolbox's config at the asked size, one pass over the first images of the data set."""
    request = Request(
        backbone=work.backbone,
        tasks=(work.task,),
        against="none",
        data=work.data,
        data_root=Path(work.data_root),
        protocol="openmmlab",
        weights="none",
        precision=work.precision,
        seed=0,
        classifier_seed=0,
    )
    # Random weights, but with what a classifier's would have frozen: that decides the cost.
    cell = dataclasses.replace(make_plan(request).cells[0], scratch=False)
    data = load_data(work.data, request.data_root)
    cfg = compose.compose(cell, data, weights="", mean=MEAN, std=STD)
    if work.task == "segmentation":
        _as_on_one_device(cfg)
        cfg.model.data_preprocessor.size = (work.image_size, work.image_size)
        cfg.train_dataloader.sampler = ConfigDict(type="ReplayableSampler")
    cfg.train_cfg = ConfigDict(type="ResumableTrainLoop", max_epochs=1)
    cfg.train_dataloader.batch_size = work.batch_size
    cfg.train_dataloader.batch_sampler.drop_last = True
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.num_workers = work.workers
        loader.persistent_workers = work.workers > 0
    _shorten(cfg.train_dataloader.dataset, work.images)
    _shorten(cfg.val_dataloader.dataset, max(1, round(_TESTED * work.images)))
    for pipeline in compose.pipelines(cfg):
        for step in pipeline:
            _resize(step, work)
    return cfg


def _as_on_one_device(cfg: Config) -> None:
    """SyncBN needs a process group; on one device it is BN."""
    for part in ("decode_head", "auxiliary_head"):
        cfg.model[part].norm_cfg = ConfigDict(type="BN", requires_grad=True)


def _shorten(dataset: ConfigDict, images: int) -> None:
    if "datasets" in dataset:
        share = -(-images // len(dataset.datasets))
        for part in dataset.datasets:
            _shorten(part, share)
    elif "dataset" in dataset:
        _shorten(dataset.dataset, images)
    else:
        dataset.indices = images


def _resize(step: ConfigDict, work: Work) -> None:
    """The asked size, with the toolbox's own proportions of sides."""
    if step.type in ("Resize", "RandomResize"):
        long, short = sorted(step.scale, reverse=True)
        step.scale = (round(work.image_size * long / short), work.image_size)
    elif step.type == "RandomCrop":
        step.crop_size = (work.image_size, work.image_size)


SIDES: dict[str, Callable[[Work, Path], dict[str, float]]] = {"ours": ours, "stock": stock}
