"""The length of a training as one number of epochs, and learning rates that follow it.

A suite's ``epochs = 8`` keeps the proportions of the protocol's schedule: whatever counts in the
unit of the training's length is moved with it. A warm-up in iterations, in a training that counts
epochs, stays as long as it is.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

from backbones.common.errors import UserError
from transfer.records.settings import EPOCHS

_MARKS = ("begin", "end")
_SPANS = ("T_max", "total_iters", "step_size", "period")


def set_epochs(cfg: Config, epochs: int, images: int) -> None:
    """Set the length of a training, and its schedule with it, in place.

    Args:
        cfg: Composed, with the protocol's own length.
        epochs: Passes over the training images; where the protocol repeats them, its own epochs.
        images: How many are trained on: protocols that count iterations turn epochs into those.
    """
    unit = "max_epochs" if "max_epochs" in cfg.train_cfg else "max_iters"
    before = int(cfg.train_cfg[unit])
    after = epochs
    if unit == "max_iters":
        after = epochs * math.ceil(images / int(cfg.train_dataloader.batch_size))
    cfg.train_cfg[unit] = after
    for scheduler in cfg.param_scheduler:
        if scheduler.get("by_epoch", True) == (unit == "max_epochs"):
            _move(scheduler, before, after)


def _move(scheduler: dict[str, Any], before: int, after: int) -> None:
    """Move a schedule's marks from a training of one length to one of another."""

    def moved(mark: int) -> int:
        # What was inside of the training stays inside, and no span vanishes that need not.
        place = round(mark * after / before)
        return min(max(place, min(mark, 1)), after - 1 if mark < before else place)

    spans = {name: scheduler[name] for name in _SPANS if name in scheduler}
    begin, end = scheduler.get("begin", 0), scheduler.get("end", before)
    for name in _MARKS:
        if name in scheduler:
            scheduler[name] = moved(scheduler[name])
    for name, span in spans.items():
        whole = scheduler.get("end", after) - scheduler.get("begin", 0)
        scheduler[name] = whole if span == end - begin else moved(span)
    if "milestones" in scheduler:
        scheduler["milestones"] = [moved(mark) for mark in scheduler["milestones"]]


def require_schedule(cfg: Config, protocol: str) -> None:
    """See that a training has a length, and that learning rates can follow its schedule.

    Args:
        cfg: Composed, with all overrides.
        protocol: Its name, for the message.

    Raises:
        UserError: It has none, or a schedule contradicts itself.
    """
    unit = "max_epochs" if "max_epochs" in cfg.train_cfg else "max_iters"
    length = cfg.train_cfg[unit]
    if type(length) is not int or length < 1:
        raise UserError(
            f"A training of {length!r} {unit.removeprefix('max_')} is none: '{EPOCHS}' or "
            f"'train_cfg.{unit}' must be a whole number from 1 on."
        )
    for number, scheduler in enumerate(cfg.param_scheduler):
        if fault := _fault(dict(scheduler)):
            raise UserError(
                f"The learning-rate schedule of protocol '{protocol}' does not fit a training of "
                f"{length} {unit.removeprefix('max_')}: {scheduler['type']} "
                f"(param_scheduler.{number}) {fault}. Train longer, or correct the overrides of "
                f"'param_scheduler.{number}'."
            )


def _fault(scheduler: dict[str, Any]) -> str:
    """What is wrong with a schedule, as the rest of a sentence; empty for nothing."""
    begin, end = scheduler.get("begin", 0), scheduler.get("end", math.inf)
    if not 0 <= begin < end:
        return f"begins at {begin} and ends at {end}"
    marks = list(scheduler.get("milestones", []))
    if marks != sorted(set(marks)) or any(not begin < mark < end for mark in marks):
        return f"has its milestones at {', '.join(map(str, marks))}"
    for name in _SPANS:
        if scheduler.get(name, 1) < 1:
            return f"has {name} = {scheduler[name]}"
    scheduler.pop("convert_to_iter_based", None)  # needs the number of iterations in an epoch
    weight = torch.nn.Parameter(torch.zeros(1))
    try:
        PARAM_SCHEDULERS.build({**scheduler, "optimizer": torch.optim.SGD([weight], lr=1.0)})
    except (ArithmeticError, AssertionError, TypeError, ValueError) as error:
        return f"cannot be built ({error})"
    return ""
