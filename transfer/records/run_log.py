"""Logs of MMEngine and of its predecessor MMCV, read as starts of a training with figures.

==================  ==========================================  ================================
form                training                                    evaluation
==================  ==========================================  ================================
MMEngine's log      ``Epoch(train)  [1][ 50/100]  loss: 2.0``    ``Epoch(val) [1][50/50]    …``
MMEngine's JSON     ``{"loss": 2.0, "step": 50}``                ``{"pascal_voc/mAP": 0.5, …}``
MMCV's log          ``Epoch [1][50/100]⇥loss: 2.0, …``           ``Epoch(val) [1][4952]⇥mAP: …``
MMCV's JSON         ``{"mode": "train", "epoch": 1, …}``         ``{"mode": "val", "mAP": …}``
==================  ==========================================  ================================

Terminal output has dates without a year, and colours. One file may hold several starts: a resumed
training, or several trainings one after another.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from transfer.records.plain_config import literal_config

BOOKKEEPING = frozenset(
    {"data_time", "time", "memory", "epoch", "iter", "step", "lr", "base_lr", "momentum", "eta"}
)
"""Numbers in a log that are neither losses nor results."""

_CONTROLS = re.compile(r"\x1b\[[0-?]{0,40}[ -/]{0,9}[@-~]")  # of a terminal: colours and others
_DATE = re.compile(r"(?:\d{4}[-/])?\d\d[-/]\d\d \d\d:\d\d:\d\d")
_DIGITS = re.compile(r"[0-9]+")
_HEAD = re.compile(r" - (?:DEBUG|INFO|WARNING|ERROR|CRITICAL) - ?")
_LONGEST_HEAD = 200  # characters: date, logger and level, after a batch system's prefix
_LONGEST_MESSAGE = 1 << 21  # characters; longer configs are not read
_N = r"\[ *(\d{1,12})\]"
_N_OF = r"\[ *(\d{1,12})/ *(\d{1,12})\]"
_LINES = (
    # Training: epoch or None, number, total. Evaluation: epoch or None.
    ("train", False, re.compile(rf"(?:Epoch|Iter)\(train\)\s+(?:{_N})?{_N_OF}")),
    ("eval", False, re.compile(rf"(?:Epoch|Iter)\((?:val|test)\)\s+(?:{_N})?{_N_OF}")),
    ("train", True, re.compile(rf"(?:Epoch|Iter) (?:{_N})?{_N_OF}")),
    ("eval", True, re.compile(rf"(?:Epoch|Iter)\(val\) (?:{_N})?\[\d{{1,12}}\]")),
)
_BETWEEN = re.compile(r",\s+|\s{2,}|\t")
_FIGURE = re.compile(r"([^:]{1,200}): +(-?\d{1,40}(?:\.\d{0,40})?(?:e[-+]?\d{1,4})?|nan|-?inf)")
_ETA = re.compile(r"\beta: (?:(\d{1,6}) days?, )?(\d{1,2}):(\d\d):(\d\d)")
_LENGTH = re.compile(r"workflow: .{0,200}, max: (\d{1,12}) (epoch|iter)s")
_SEEDS = (
    re.compile(r"^ +seed: (\d{1,20})$", re.MULTILINE),
    re.compile(r"\bSet random seed to (\d{1,20})\b"),
)
_GPUS = re.compile(r"^ +GPU number: (\d{1,6})$", re.MULTILINE)
_ALONE = "Distributed training: False"


@dataclass(frozen=True, kw_only=True)
class Training:
    """A line of training.

    Attributes:
        iteration: Counted from 1 over all epochs; 0 if not logged.
        losses: The finite losses, and the learning rate.
        left: Remaining iterations by the log's own estimate, or None.
        left_in_epoch: Remaining iterations of the epoch, or None.
        epoch_length: Iterations of an epoch, or None.
        length: Iterations of the whole training, or None.
        epoch: Its epoch, counted from 1; 0 if not logged.
    """

    iteration: int
    losses: dict[str, float]
    left: float | None = None
    left_in_epoch: int | None = None
    epoch_length: int | None = None
    length: int | None = None
    epoch: int = 0


@dataclass(frozen=True)
class Evaluation:
    """A line of results.

    Attributes:
        figures: Results by the log's names.
        epoch: Preceding epoch; 0 if not logged.
        step: Preceding epoch or iteration, in the training's unit; 0 if unknown.
    """

    figures: dict[str, float]
    epoch: float = 0.0
    step: float = 0.0


@dataclass(kw_only=True)
class Start:
    """The log of one start of a training.

    Attributes:
        older: Whether it comes from MMCV, the predecessor of MMEngine.
        config: The resolved config; None without one in plain data.
        seed: Seed of the run, or None.
        gpus: Number of GPUs, or None.
        length: ``("epoch", 12)`` or ``("iter", 80000)``, by a line of its own; None without one.
        points: Lines of training and results, in the order of the log.
    """

    older: bool = False
    config: dict[str, Any] | None = None
    seed: int | None = None
    gpus: int | None = None
    length: tuple[str, float] | None = None
    points: list[Training | Evaluation] = field(default_factory=list)

    @property
    def is_evaluated(self) -> bool:
        """Whether there is a line of results."""
        return any(isinstance(point, Evaluation) for point in self.points)


def is_json(text: str) -> bool:
    """Whether a log has one JSON object per line."""
    return text.lstrip()[:1] == "{"


def read_log(text: str) -> list[Start]:
    """The starts in a text log."""
    starts = [Start()]
    for message in _messages(text):
        if point := _point(message):
            older, found = point
            starts[-1].older |= older
            starts[-1].points.append(found)
            continue
        is_first = message.startswith(("Config:", "Environment info:")) or (
            "System environment:" in message[:500]
        )
        if is_first and starts[-1].points:
            starts.append(Start())
        _note(message, starts[-1])
    return starts


def _messages(text: str) -> Iterator[str]:
    """The log's messages without date and level, each with the lines that continue it.

    A batch system may label every line, with a number of a process or a time. What precedes the
    date of a message is removed from the lines that continue it, whatever its digits are.
    """
    message, length, label = [""], 0, None
    for line in _lines(_CONTROLS.sub("", text)):
        if head := _HEAD.search(line, 0, _LONGEST_HEAD):
            yield "\n".join(message)
            message, length, label = [line[head.end() :]], 0, _label(line[: head.start()])
            continue
        if label and (labelled := label.match(line)):
            line = line[labelled.end() :]
        if (length := length + len(line) + 1) <= _LONGEST_MESSAGE:
            message.append(line)
    yield "\n".join(message)


def _label(head: str) -> re.Pattern[str] | None:
    """What precedes the date in a message's first line, with any digits; None for nothing."""
    date = _DATE.search(head)
    if not date or not date.start():
        return None
    return re.compile("[0-9]{1,40}".join(map(re.escape, _DIGITS.split(head[: date.start()]))))


def _lines(text: str) -> Iterator[str]:
    """One line after another: a list of all would need many times the memory of the text."""
    return (line.removesuffix("\n") for line in io.StringIO(text, newline=None))


def _note(message: str, start: Start) -> None:
    """Read what a message without figures says about the run."""
    if message.startswith("Config:"):
        start.config = literal_config(message.removeprefix("Config:")) or start.config
    for pattern in _SEEDS:
        if found := pattern.search(message):
            start.seed = int(found[1])
    if found := _GPUS.search(message):
        start.gpus = int(found[1])
    elif message.startswith(_ALONE):
        start.gpus = 1
    if found := _LENGTH.match(message):
        start.length = (found[2], float(found[1]))


def _point(message: str) -> tuple[bool, Training | Evaluation] | None:
    """A line of figures, and whether it has MMCV's form; None for any other message."""
    for kind, older, pattern in _LINES:
        if not (place := pattern.match(message)):
            continue
        line = message[place.end() :].split("\n", 1)[0]
        figures = {
            found[1].strip(): float(found[2])
            for part in _BETWEEN.split(line)
            if (found := _FIGURE.fullmatch(part.strip()))
        }
        if kind == "train":
            return (older, _training(line, place, figures)) if "loss" in figures else None
        if "loss" in figures or not figures.keys() - BOOKKEEPING:
            return None
        return older, Evaluation(figures, epoch=float(place[1] or 0))
    return None


def _training(line: str, place: re.Match[str], figures: dict[str, float]) -> Training:
    epoch, done, of = (int(number) if number else None for number in place.groups())
    assert done is not None
    assert of is not None
    left = None
    if (eta := _ETA.search(line)) and figures.get("time", 0) > 0:
        days, hours, minutes, seconds = (int(number or 0) for number in eta.groups())
        left = (((days * 24 + hours) * 60 + minutes) * 60 + seconds) / figures["time"]
    if epoch is None:
        return Training(iteration=done, losses=_losses(figures), left=left, length=of)
    return Training(
        iteration=(epoch - 1) * of + done,
        losses=_losses(figures),
        left=left,
        left_in_epoch=of - done,
        epoch_length=of,
        epoch=epoch,
    )


def _losses(figures: dict[str, float]) -> dict[str, float]:
    wanted = {k: v for k, v in figures.items() if "loss" in k or k == "lr"}
    return {k: v for k, v in wanted.items() if math.isfinite(v)}


def read_json(text: str, epoch_length: int | None = None) -> tuple[list[Start], int]:
    """The starts in a log of JSON lines.

    Args:
        text: The log.
        epoch_length: Iterations of an epoch, needed because MMCV's log by epochs counts within one.
            Without it such a log gives no iterations.

    Returns:
        The starts, and the number of lines that could not be read.
    """
    starts, broken = [Start()], 0
    for line in _lines(text):
        try:
            entries = json.loads(line)
        except (ValueError, RecursionError):
            broken += 1
            continue
        if isinstance(entries, dict):
            _take(entries, starts)
    for start in starts:
        if start.older:
            start.points = _counted_over_epochs(start.points, epoch_length)
    return starts, broken


def _take(entries: dict[str, Any], starts: list[Start]) -> None:
    """Add a line to its start."""
    if "mode" not in entries and ("env_info" in entries or "seed" in entries):
        if starts[-1].points:
            starts.append(Start())
        start = starts[-1]
        start.older = True
        start.seed = entries["seed"] if type(entries.get("seed")) is int else start.seed
        if isinstance(entries.get("config"), str):
            start.config = literal_config(entries["config"])
        return
    figures = {k: found for k, v in entries.items() if (found := _number(v)) is not None}
    start = starts[-1]
    start.older |= "mode" in entries
    is_training = entries.get("mode", "train") == "train"
    if "loss" in figures and is_training:
        step = figures.get("step", figures.get("iter", 0.0))
        epoch = figures.get("epoch", 0.0)
        start.points.append(
            Training(iteration=_whole(step), losses=_losses(figures), epoch=_whole(epoch))
        )
    elif "loss" not in figures and figures.keys() - BOOKKEEPING:
        step = 0.0 if start.older else figures.get("step", 0.0)
        start.points.append(Evaluation(figures, figures.get("epoch", 0.0), step))


def _counted_over_epochs(
    points: list[Training | Evaluation], epoch_length: int | None
) -> list[Training | Evaluation]:
    """Lines with iterations counted over all epochs; MMCV's log counts within each."""
    lines = [point for point in points if isinstance(point, Training)]
    if not any(
        after.epoch > before.epoch and after.iteration <= before.iteration
        for before, after in itertools.pairwise(lines)
    ):
        return points
    return [
        replace(point, iteration=_over_all(point, epoch_length))
        if isinstance(point, Training)
        else point
        for point in points
    ]


def _over_all(line: Training, epoch_length: int | None) -> int:
    return (line.epoch - 1) * epoch_length + line.iteration if epoch_length else 0


def _whole(number: float) -> int:
    return int(number) if math.isfinite(number) else 0


def _number(value: object) -> float | None:
    """A number of JSON that a float can hold; None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
