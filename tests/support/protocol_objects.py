"""The protocols' objects as a run has them when its first iteration starts, for tests to ask."""

import copy
import warnings
from functools import cache

import numpy as np

from transfer.finetune.finetune import build_runner
from transfer.protocols import compose, protocols
from transfer.records.cells import Cell

VOC_NAMES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
SIZES = [(300, 200), (200, 300), (600, 100), (40, 30)]  # width, height: wide, tall, long, tiny
IMAGES = 16


def configured(data, task, protocol, architecture="resnet50", weights="", overrides=()):
    """The config that the driver runs; nothing is loaded in other processes."""
    return copy.deepcopy(composed(data, task, protocol, architecture, weights, overrides))


@cache
def composed(data, task, protocol, architecture, weights, overrides):
    cell = Cell(
        backbone="resnet50_baseline",
        architecture=architecture,
        weights=weights,
        weights_id="",
        classifier="public",
        task=task,
        protocol=protocol,
        protocol_version=protocols.version(task, protocol),
        data="tiny",
        data_fingerprint="",
        precision="float32",
        seed=0,
        overrides=overrides,
    )
    imagenet = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
    cfg = compose.compose(cell, data, weights=weights, **imagenet)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    return cfg


def ready_to_train(cfg, folder):
    """A runner as it is when its first iteration starts, with the rates scaled."""
    runner = build_runner(cfg, folder, [])
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    return runner


def learning_rates(runner):
    """Rates of every group at every iteration, by really stepping the schedulers."""
    warnings.filterwarnings("ignore", "Detected call of `scheduler.step")  # nothing is trained
    rates = []
    start = [group["lr"] for group in runner.optim_wrapper.optimizer.param_groups]
    for iteration in range(runner.max_iters):
        rates.append([group["lr"] for group in runner.optim_wrapper.optimizer.param_groups])
        end_of_epoch = (iteration + 1) % runner.train_loop.epoch_length == 0
        for scheduler in runner.param_schedulers:
            if not scheduler.by_epoch or end_of_epoch:
                scheduler.step()
    for group, rate in zip(runner.optim_wrapper.optimizer.param_groups, start, strict=True):
        group["lr"] = rate
    return np.array(rates)


def optimised(runner):
    """Rate, decay and momentum of every trained parameter, by its name."""
    names = {id(p): name for name, p in runner.model.named_parameters()}
    found = {}
    for group in runner.optim_wrapper.optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.requires_grad:
                assert names[id(parameter)] not in found, "optimised twice"
                settings = (group["initial_lr"], group["weight_decay"], group["momentum"])
                found[names[id(parameter)]] = settings
    assert found.keys() == {n for n, p in runner.model.named_parameters() if p.requires_grad}
    return found
