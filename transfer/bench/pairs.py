"""Pairs: two ways of doing the same work, run alternately, each in a process of its own.

Alternating spreads whatever else the machine does over both sides; a process of its own gives each
its own peak of memory and leaves nothing warm for the other.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from backbones.common.errors import UserError

STOCK_AMP = "stock amp"
"""Stock training with the toolboxes' own ``--amp``, on a GPU."""

LEAVING_OUT = "without "
"""Begins the name of a side that leaves a part of the speed layer out, which comes next."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What both sides do.

    Attributes:
        task: ``"classification"``, ``"detection"`` or ``"segmentation"``.
        side: ``"ours"`` or what it is measured against.
        backbone: Row of the zoo.
        data: ImageFolder, or a data set as ``transfer run --data`` takes it.
        data_root: Folder of the data sets.
        images: Images trained on.
        image_size: Side of a crop, or shorter side of an image, in pixels.
        batch_size: Images a step.
        precision: ``"float32"`` or ``"bfloat16"``.
        workers: Processes that read images.
        protocol: Of a fine-tuning: whose config is trained.
        weights: Of a fine-tuning's backbone; ``"none"`` for random ones.
        seed: Of a fine-tuning.
        paired: Both sides see the same draws, train the protocol's own length at its own sizes,
            and are judged by this project's metric: for their results, not for their speed.
            ``image_size`` and ``batch_size`` do not count then, and no ``images`` is all.
    """

    task: str
    side: str
    backbone: str
    data: str
    data_root: str
    images: int
    image_size: int
    batch_size: int
    precision: str
    workers: int
    protocol: str = "openmmlab"
    weights: str = "none"
    seed: int = 0
    paired: bool = False

    @property
    def computed_in(self) -> str:
        """The precision of the side's arithmetic; that of float16 is bfloat16's on a GPU."""
        if self.side == STOCK_AMP:
            return "bfloat16"
        return "float32" if self.side == "stock" else self.precision


@dataclass(frozen=True)
class Done:
    """What a side has to tell.

    Attributes:
        seconds: ``start_up``, ``train``, ``evaluate``.
        breakdown: The same seconds by :data:`transfer.bench.breakdown.PARTS`; of fine-tunings.
        metric: The headline metric, in percent; of fine-tunings.
        images: Trained on, in all passes; of fine-tunings, whose data may repeat their images or
            have fewer than were asked for.
    """

    seconds: dict[str, float]
    breakdown: dict[str, float] = field(default_factory=dict)
    metric: float = math.nan
    images: int = 0


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run of one side took.

    Attributes:
        seconds: By what they were spent on; imports are not counted.
        images: Trained on, in all passes.
        peak_mb: Most memory that the process held, in MiB: the GPU's where it used one.
        breakdown: As :class:`Done`.
        metric: As :class:`Done`.
    """

    seconds: dict[str, float]
    images: int
    peak_mb: float
    breakdown: dict[str, float] = field(default_factory=dict)
    metric: float | None = None

    @property
    def total(self) -> float:
        """Loading, training and evaluation, in seconds."""
        return sum(self.seconds.values())

    def spent_on(self, part: str) -> float:
        """Seconds of one part; of all where ``part`` is empty."""
        return self.seconds[part] if part else self.total


@dataclass(frozen=True)
class Arithmetic:
    """What a training multiplies, and what the machine could.

    Attributes:
        of_image: Floating-point operations of the training of one image.
        ceiling: Operations a second that the machine's matrix products reach, by precision.
    """

    of_image: float
    ceiling: dict[str, float]


@dataclass(frozen=True)
class Pairs:
    """The runs of two sides, pair by pair.

    Attributes:
        ours: This project's.
        other: What it is measured against.
    """

    ours: tuple[Run, ...]
    other: tuple[Run, ...]

    def ratios(self, part: str = "") -> list[float]:
        """The other's seconds over ours, pair by pair; of one part, or in total."""
        return [
            other.spent_on(part) / ours.spent_on(part)
            for ours, other in zip(self.ours, self.other, strict=True)
        ]

    def ratio(self, part: str = "") -> float:
        """Median of the pairs' ratios; above 1 this project is the faster."""
        return statistics.median(self.ratios(part))


def alternate(
    ours: Work, other: Work, pairs: int, told: Callable[[str, Run], None]
) -> Iterator[tuple[Run, Run]]:
    """Run pairs; which side is first changes from pair to pair.

    Args:
        ours: This project's side.
        other: The other side.
        pairs: How many.
        told: Called after each run.

    Raises:
        UserError: A side failed; the sentence has its last line.
    """
    for number in range(pairs):
        done = {}
        for work in (ours, other) if number % 2 == 0 else (other, ours):
            done[work.side] = run_side(work)
            told(work.side, done[work.side])
        yield done[ours.side], done[other.side]


def run_side(work: Work) -> Run:
    """One run of one side, in a process of its own."""
    return Run(**_in_process("run", work))


def count(work: Work) -> Arithmetic:
    """The arithmetic of a fine-tuning's training, in a process of its own; nothing is timed."""
    return Arithmetic(**_in_process("count", work))


def _in_process(what: str, work: Work) -> dict[str, Any]:
    told = json.dumps(dataclasses.asdict(work))
    command = [sys.executable, "-m", "transfer.bench.side", what, told]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise UserError(f"The side '{work.side}' failed: {last.removeprefix('error: ')}")
    content: dict[str, Any] = json.loads(lines[-1])
    return content
