"""Pairs: the same work done in two ways, alternately, each run in its own process.

Alternation spreads other load on the machine over both sides. A separate process gives each run its
own memory peak and leaves no warm caches for the other.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from backbones.common.errors import UserError

STOCK_AMP = "stock amp"
"""Stock training with the toolboxes' own ``--amp``, on a GPU."""

EACH_PART = "without each part"
"""Not one side but several: each leaves out one part of the speed layer."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of a side.

    Attributes:
        task: ``"classification"``, ``"detection"`` or ``"segmentation"``.
        side: ``"ours"`` or its opponent.
        backbone: Row of the zoo.
        data: ImageFolder, or a data set as in ``transfer run --data``.
        data_root: Folder that holds the data sets.
        images: Number of training images.
        image_size: Side of a crop, or shorter side of an image, in pixels.
        batch_size: Images per step.
        precision: ``"float32"`` or ``"bfloat16"``.
        workers: Processes that read images.
        protocol: Protocol of a fine-tuning.
        weights: Weights of a fine-tuning's backbone; ``"none"`` for random weights.
        seed: Seed of a fine-tuning.
        paired: Whether results are compared, not speed: both sides see the same draws, train the
            protocol's own length at its own sizes, and use this project's metric. Then
            ``image_size`` and ``batch_size`` have no effect, and ``images`` 0 means all.
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
        """The precision of the side's arithmetic; on a GPU, bfloat16 stands for float16 too."""
        if self.side == STOCK_AMP:
            return "bfloat16"
        return "float32" if self.side == "stock" else self.precision


@dataclass(frozen=True)
class Done:
    """The result of a side.

    Attributes:
        seconds: ``start_up``, ``train``, ``evaluate``.
        breakdown: The same seconds by :data:`transfer.bench.breakdown.PARTS`; only for
            fine-tunings.
        metric: The headline metric, in percent; only for fine-tunings.
        images: Training images over all epochs; only for fine-tunings, whose data set may repeat
            images or have fewer than requested.
        steps: Seconds of each training step after the first; only for fine-tunings in MMEngine.
    """

    seconds: dict[str, float]
    breakdown: dict[str, float] = field(default_factory=dict)
    metric: float = math.nan
    images: int = 0
    steps: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Run:
    """The cost of one run of one side.

    Attributes:
        seconds: Seconds of each part; imports are not counted.
        images: Training images over all epochs.
        peak_mb: Peak memory of the process in MiB, on the GPU if it used one.
        breakdown: See :class:`Done`.
        metric: See :class:`Done`.
        steps: See :class:`Done`.
    """

    seconds: dict[str, float]
    images: int
    peak_mb: float
    breakdown: dict[str, float] = field(default_factory=dict)
    metric: float | None = None
    steps: list[float] = field(default_factory=list)

    @property
    def total(self) -> float:
        """Loading, training and evaluation, in seconds."""
        return sum(self.seconds.values())

    def spent_on(self, part: str) -> float:
        """Seconds of one part, or of all if ``part`` is empty."""
        return self.seconds[part] if part else self.total


@dataclass(frozen=True)
class Arithmetic:
    """The arithmetic of a training, and the machine's ceiling.

    Attributes:
        of_image: Floating-point operations of the training of one image.
        ceiling: Operations per second of the machine's matrix products, by precision.
    """

    of_image: float
    ceiling: dict[str, float]


@dataclass(frozen=True)
class Pairs:
    """The runs of two sides, pair by pair.

    Attributes:
        ours: This project's runs.
        other: The opponent's runs.
    """

    ours: tuple[Run, ...]
    other: tuple[Run, ...]

    def ratios(self, part: str = "") -> list[float]:
        """The other side's seconds divided by ours, for each pair, for one part or in total."""
        return [
            other.spent_on(part) / ours.spent_on(part)
            for ours, other in zip(self.ours, self.other, strict=True)
        ]

    def ratio(self, part: str = "") -> float:
        """Median of the pairs' ratios; above 1, this project is faster."""
        return statistics.median(self.ratios(part))


def alternate(
    ours: Work, others: Sequence[Work], rounds: int, done_one: Callable[[str, Run], None]
) -> Iterator[tuple[int, tuple[Run, Run]]]:
    """Run each side once per round; the order is reversed from round to round.

    Args:
        ours: This project's side.
        others: The other sides; each makes a pair with our run of the same round.
        rounds: Number of rounds.
        done_one: Called after each run.

    Yields:
        Each pair as soon as both of its runs are done: the position of the other side in
        ``others``, our run and the other one.

    Raises:
        UserError: A side failed; the message has its last line.
    """
    sides = [ours, *others]
    for number in range(rounds):
        done: dict[str, Run] = {}
        for work in sides if number % 2 == 0 else reversed(sides):
            done[work.side] = run_side(work)
            done_one(work.side, done[work.side])
            if ours.side in done:
                for place, other in enumerate(others):
                    if other.side in done and work.side in (ours.side, other.side):
                        yield place, (done[ours.side], done[other.side])


def run_side(work: Work) -> Run:
    """Run one side in its own process."""
    return Run(**_in_process("run", work))


def count(work: Work) -> Arithmetic:
    """Count a fine-tuning's training arithmetic in its own process; nothing is timed."""
    return Arithmetic(**_in_process("count", work))


def _in_process(what: str, work: Work) -> dict[str, Any]:
    described = json.dumps(dataclasses.asdict(work))
    command = [sys.executable, "-m", "transfer.bench.side", what, described]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise UserError(f"The side '{work.side}' failed: {last.removeprefix('error: ')}")
    content: dict[str, Any] = json.loads(lines[-1])
    return content
