"""Forecast of a run on the sample: made before it starts, corrected while it runs.

Each part's cost is known in seconds of a reference machine. The ratio of this machine to that one
is guessed from a short measurement, then learned from the parts that are done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from backbones.zoo.sizes import size_of
from transfer.plan.sample_classifiers import OF_SAMPLE, is_trained
from transfer.records.cells import Cell

TRAIN_CLASSIFIER, TRAIN, EVALUATE = "train the classifier", "train", "evaluate"
"""The phases of a run, as its listener is notified of them."""

_NETWORK = "resnet50"
_CLASSIFIER_SECONDS = 70.0
_SECONDS = {  # a run of resnet50 on two cores of an AMD EPYC, family 25
    ("detection", TRAIN): 48.0,
    ("detection", EVALUATE): 3.0,
    ("segmentation", TRAIN): 53.0,
    ("segmentation", EVALUATE): 5.0,
}
_BELIEF = 3.0
"""Weight of the initial guess, in reference seconds of work."""


@dataclass(kw_only=True)
class Forecast:
    """Time left for some runs.

    Attributes:
        parts: By run, the reference seconds of each of its phases, in their order.
        guess: Seconds per reference second on this machine, guessed before the start.
        jobs: Runs in parallel; together they use the machine as a single run would.
        clock: Returns the time in seconds.
    """

    parts: Sequence[dict[str, float]]
    guess: float
    jobs: int = 1
    clock: Callable[[], float] = time.monotonic
    _began: float | None = None
    _skipped: float = 0.0  # reference seconds that interrupted runs had done before
    _places: dict[int, tuple[str, float]] = field(default_factory=dict)  # phase, share done

    def step(self, number: int, phase: str, done: int, total: int) -> None:
        """Run ``number``, from 0, has reached a step of a phase."""
        if phase not in self.parts[number] or not total:
            return
        if self._began is None:
            self._began = self.clock()
        share = done / total
        if phase != self._places.get(number, ("", 0.0))[0] and done > 1:
            self._skipped += share * self.parts[number][phase]
        self._places[number] = phase, share

    def left(self) -> float:
        """Seconds until the last run ends."""
        rest = [sum(part.values()) - self._done(i) for i, part in enumerate(self.parts)]
        spent = 0.0 if self._began is None else self.clock() - self._began
        computed = max(0.0, sum(map(self._done, range(len(self.parts)))) - self._skipped)
        pace = (self.guess * _BELIEF + spent) / (_BELIEF + computed)
        return pace * max(sum(rest), self.jobs * max(rest))

    def _done(self, number: int) -> float:
        """Reference seconds of a run's finished work."""
        if number not in self._places:
            return 0.0
        current, share = self._places[number]
        phases = list(self.parts[number])
        before = phases[: phases.index(current)]
        return sum(self.parts[number][p] for p in before) + share * self.parts[number][current]


def forecast(cells: Sequence[Cell], guess: float, jobs: int) -> Forecast | None:
    """The forecast for cells of the sample; None if a network's size is unknown.

    Args:
        cells: In run order.
        guess: Seconds per reference second on this machine.
        jobs: Runs in parallel.
    """
    reference = size_of(_NETWORK)
    assert reference
    parts: list[dict[str, float]] = []
    here: set[str] = set()
    for cell in cells:
        size = size_of(cell.architecture)
        if size is None:
            return None
        times = size.multiply_adds / reference.multiply_adds
        part = {phase: times * _SECONDS[cell.task, phase] for phase in (TRAIN, EVALUATE)}
        if cell.weights.startswith(OF_SAMPLE) and cell.weights not in here:
            here.add(cell.weights)
            if not is_trained(cell.weights):
                part = {TRAIN_CLASSIFIER: times * _CLASSIFIER_SECONDS, **part}
        parts.append(part)
    return Forecast(parts=parts, guess=guess, jobs=jobs)
