"""Configs for the sides of a fine-tuning: ours, and a stock version of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from backbones.training.augmentation import MEAN, STD
from transfer import openmmlab  # noqa: F401  (registers everything, operators first)
from transfer.bench.pairs import STOCK_AMP, Work
from transfer.finetune import classifiers
from transfer.plan.request import Request, load_data, make_plan
from transfer.protocols import compose
from transfer.records.settings import WITHOUT
from transfer.report.speed_tables import LEAVING_OUT

TESTED = 0.125
"""Test images as a share of training images; VOC's own share would make runs long."""

_STOCK_METRIC = {
    "detection": ConfigDict(type="mmdet.VOCMetric", metric="mAP", eval_mode="11points"),
    "segmentation": ConfigDict(type="mmseg.IoUMetric", iou_metrics=["mIoU"]),
}


def config(work: Work) -> Config:
    """The protocol's config on the first images of the data set.

    One epoch at the requested size; to compare results, the protocol's own length and sizes.
    """
    cfg, length = _composed(work)
    loop = {"type": "ResumableTrainLoop", "max_epochs": length if work.paired else 1}
    cfg.train_cfg = ConfigDict(loop)
    cfg.train_dataloader.batch_sampler.drop_last = True
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.num_workers = work.workers
        loader.persistent_workers = work.workers > 0
    if work.images:
        _shorten(cfg.train_dataloader.dataset, work.images)
    if not work.paired:
        _size(cfg, work)
    return cfg


def stock_config(work: Work, place: Path) -> Config:
    """:func:`config` without this project's parts that save time."""
    cfg = config(work)
    cfg.optim_wrapper.type = "OptimWrapper"
    if work.side == STOCK_AMP:  # as the toolboxes' tools/train.py sets it
        cfg.optim_wrapper.update(type="AmpOptimWrapper", loss_scale="dynamic")
    cfg.val_cfg = ConfigDict(type="ValLoop")
    seeding = [ConfigDict(type="SeedIterations")]
    cfg.custom_hooks = seeding if work.paired else []
    epochs = cfg.train_cfg.max_epochs
    # MMEngine evaluates after the last epoch whatever the interval; the side does it itself.
    cfg.train_cfg = ConfigDict(type="EpochBasedTrainLoop", max_epochs=epochs, val_begin=epochs + 1)
    drop_last = cfg.train_dataloader.batch_sampler.drop_last
    if work.task == "detection":
        cfg.train_dataloader.batch_sampler = ConfigDict(
            type="mmdet.AspectRatioBatchSampler", drop_last=drop_last
        )
    else:
        del cfg.train_dataloader["batch_sampler"]
        cfg.train_dataloader.drop_last = drop_last
    if not work.paired:
        cfg.val_evaluator = _STOCK_METRIC[work.task]
    cfg.work_dir = str(place)
    for part in ("test_dataloader", "test_cfg", "test_evaluator", "visualizer", "vis_backends"):
        cfg.pop(part, None)
    cfg.default_hooks.pop("visualization", None)
    return cfg


def trained_images(runner: Any) -> int:
    """Training images of a stock runner, over all epochs."""
    loop = runner.train_loop
    full = loop.max_iters * loop.dataloader.batch_sampler.batch_size
    return min(full, loop.max_epochs * len(loop.dataloader.dataset))


def _composed(work: Work) -> tuple[Config, int | None]:
    """The cell's config, and its number of epochs if the protocol counts epochs."""
    request = Request(
        backbone=work.backbone,
        tasks=(work.task,),
        against="none",
        data=work.data,
        data_root=Path(work.data_root),
        protocol=work.protocol,
        weights=work.weights,
        precision=work.precision,
        seed=work.seed,
        classifier_seed=0,
    )
    plan = make_plan(request)
    cell = plan.cells[0]
    if work.side.startswith(LEAVING_OUT):
        left_out = (work.side.removeprefix(LEAVING_OUT),)
        cell = dataclasses.replace(cell, overrides=((WITHOUT, left_out),))
    data = load_data(work.data, request.data_root)
    if work.weights == "none":
        # Random weights, but frozen like a classifier's, because freezing determines the cost.
        cell = dataclasses.replace(cell, scratch=False)
        cfg = compose.compose(cell, data, weights="", mean=MEAN, std=STD)
    else:
        ready = classifiers.prepare(cell, plan.rows[cell.backbone])
        cfg = compose.compose(cell, data, weights=ready.path, mean=ready.mean, std=ready.std)
    return cfg, cfg.train_cfg.get("max_epochs")


def _size(cfg: Config, work: Work) -> None:
    """Set the requested batch size and image size, and few test images."""
    if work.task == "segmentation":
        _as_on_one_device(cfg)
        cfg.model.data_preprocessor.size = (work.image_size, work.image_size)
        cfg.train_dataloader.sampler = ConfigDict(type="ReplayableSampler")
    else:  # if set, MMDetection also drops a complete last batch, and would train less
        cfg.train_dataloader.batch_sampler.drop_last = False
    cfg.train_dataloader.batch_size = work.batch_size
    _shorten(cfg.val_dataloader.dataset, max(1, round(TESTED * work.images)))
    for pipeline in compose.pipelines(cfg):
        for step in pipeline:
            _resize(step, work)


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
    """The requested size, with the toolbox's own aspect ratio."""
    if step.type in ("Resize", "RandomResize"):
        long, short = sorted(step.scale, reverse=True)
        step.scale = (round(work.image_size * long / short), work.image_size)
    elif step.type == "RandomCrop":
        step.crop_size = (work.image_size, work.image_size)
