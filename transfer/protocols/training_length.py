"""The length of a training in epochs, and learning-rate schedules that follow it.

A suite's ``epochs = 8`` keeps the proportions of the protocol's schedule: everything in the unit of
the training's length is scaled with it. A warm-up in iterations keeps its length if the training
counts epochs. A training of one epoch begins and ends a schedule inside it if the schedule can be
converted to iterations.
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
        cfg: Composed config, with the protocol's own length.
        epochs: Passes over the training images; if the protocol repeats them, its own epochs.
        images: Number of training images, to convert epochs to iterations in some protocols.
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
    """Scale a schedule's marks from one training length to another."""

    def moved(mark: int) -> int:
        # Marks inside the training stay inside, and no span vanishes needlessly.
        place = round(mark * after / before)
        return min(max(place, min(mark, 1)), after - 1 if mark < before else place)

    spans = {name: scheduler[name] for name in _SPANS if name in scheduler}
    begin, end = scheduler.get("begin", 0), scheduler.get("end", before)
    for name in _MARKS:
        if mark := scheduler.get(name, 0):
            part = mark / before if scheduler.get("convert_to_iter_based") else 0
            scheduler[name] = moved(mark) or part  # 0: inside the only epoch
    for name, span in spans.items():
        whole = scheduler.get("end", after) - scheduler.get("begin", 0)
        scheduler[name] = whole if span == end - begin else moved(span)
    if "milestones" in scheduler:
        scheduler["milestones"] = [moved(mark) for mark in scheduler["milestones"]]


def require_schedule(cfg: Config, protocol: str) -> None:
    """Check that a training has a length that its learning-rate schedule fits.

    Args:
        cfg: Composed config, with all overrides.
        protocol: Its name, for the message.

    Raises:
        UserError: The length is invalid, or a schedule contradicts itself.
    """
    unit = "max_epochs" if "max_epochs" in cfg.train_cfg else "max_iters"
    length = cfg.train_cfg[unit]
    if type(length) is not int or length < 1:
        raise UserError(
            f"A training of {length!r} {unit.removeprefix('max_')} is impossible: '{EPOCHS}' or "
            f"'train_cfg.{unit}' must be an integer of at least 1."
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
    """The fault of a schedule, as the rest of a sentence; empty if there is none."""
    begin, end = scheduler.get("begin", 0), scheduler.get("end", math.inf)
    if not 0 <= begin < end:
        return f"begins at {begin} and ends at {end}"
    marks = list(scheduler.get("milestones", []))
    if marks != sorted(set(marks)) or any(not begin < mark < end for mark in marks):
        return f"has its milestones at {', '.join(map(str, marks))}"
    in_iterations = scheduler.pop("convert_to_iter_based", False)  # needs an epoch's iterations
    for name in _SPANS:
        span = scheduler.get(name, 1)
        if span <= 0 or (span < 1 and not in_iterations):
            return f"has {name} = {span}"
    weight = torch.nn.Parameter(torch.zeros(1))
    try:
        PARAM_SCHEDULERS.build({**scheduler, "optimizer": torch.optim.SGD([weight], lr=1.0)})
    except (ArithmeticError, AssertionError, TypeError, ValueError) as error:
        return f"cannot be built ({error})"
    return ""
