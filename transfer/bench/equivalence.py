"""Equivalence of the default path and stock training: paired runs, and an interval.

Both sides start from the same weights and see the same images in the same order with the same
random draws; only this project's own arithmetic differs, including the default precision. They
count as equivalent if the 90 % interval of the mean difference is within half a point (two
one-sided tests at 5 %).
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from backbones.common.atomic_write import write_atomically
from backbones.common.errors import UserError
from backbones.common.json_file import read_json
from backbones.common.regular_file import UnfitFile
from transfer.bench.pairs import Run, Work, run_side
from transfer.report.speed_tables import no_record

MARGIN = 0.5
"""Points."""

_COVERAGE = 0.90


@dataclass(frozen=True)
class Difference:
    """Ours minus stock, over seeds.

    Attributes:
        values: Differences in points, one per seed.
        mean: Their mean.
        low: Lower end of the 90 % interval of the mean.
        high: Upper end.
    """

    values: tuple[float, ...]
    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """The verdict from the interval."""
        if self.low >= -MARGIN and self.high <= MARGIN:
            return "equivalent"
        if self.low > MARGIN or self.high < -MARGIN:
            return "different"
        return "inconclusive"


def difference(ours: Sequence[float], stock: Sequence[float]) -> Difference:
    """The paired difference and Student's interval of its mean.

    Args:
        ours: Metrics in percent, one per seed.
        stock: Metrics of the same seeds.

    Raises:
        UserError: Fewer than two seeds, or a metric that is not a number.
    """
    values = tuple(a - b for a, b in zip(ours, stock, strict=True))
    if len(values) < 2 or not all(math.isfinite(value) for value in values):
        raise UserError(
            "An interval needs two seeds with finite metrics; use --pairs 2 or more, and enough "
            "training for the metric to be a number."
        )
    mean = statistics.mean(values)
    error = statistics.stdev(values) / math.sqrt(len(values))
    reach = float(stats.t.ppf((1 + _COVERAGE) / 2, len(values) - 1)) * error
    return Difference(values, mean, mean - reach, mean + reach)


SIDES = ("ours", "stock")


class Ledger:
    """The finished runs of both sides in one file, so that a measurement can resume.

    A run counts only for the library versions that it used; one of ours also only for its commit,
    since stock is the toolboxes' own code. A run of a changed checkout counts only once.

    Args:
        path: The file; it need not exist.
        work: The work of both sides, as described in the file.
        git: Commit and changes of this checkout.
        versions: Versions of the libraries.

    Raises:
        UserError: The file is not of this kind.
    """

    def __init__(
        self, path: Path, work: dict[str, Any], git: dict[str, Any], versions: dict[str, str]
    ) -> None:
        self.path = path
        self.now = {"git": git, "versions": versions}
        self.content: dict[str, Any] = {"work": work, **{side: {} for side in SIDES}}
        if path.exists():
            self._read()

    def _read(self) -> None:
        try:
            found = read_json(self.path)
            for side, bound in zip(SIDES, (("git", "versions"), ("versions",)), strict=True):
                for seed, entry in found[side].items():
                    _run(entry)
                    same = all(entry[part] == self.now[part] for part in bound)
                    if same and not entry["git"].get("changed"):
                        self.content[side][str(int(seed))] = entry
        except (OSError, UnfitFile, ValueError, KeyError, TypeError, AttributeError) as error:
            raise no_record(self.path, "transfer bench --equivalence", error) from error

    @property
    def done(self) -> dict[str, dict[int, Run]]:
        """The runs, by side and seed."""
        return {
            side: {int(seed): _run(entry) for seed, entry in self.content[side].items()}
            for side in SIDES
        }

    def add(self, side: str, seed: int, run: Run) -> None:
        """Add a run to the file."""
        self.content[side][str(seed)] = {"run": dataclasses.asdict(run), **self.now}

    def pairs(self, seeds: int) -> tuple[list[float], list[float]]:
        """Both sides' metrics for the first seeds that both have; NaN for a missing metric."""
        done = self.done
        both = [seed for seed in range(seeds) if all(seed in done[side] for side in SIDES)]
        ours, stock = ([_metric(done[side][seed]) for seed in both] for side in SIDES)
        return ours, stock

    def write(self, summary: dict[str, Any]) -> None:
        """Rewrite the file with further entries."""
        content = {**self.content, **summary}
        write_atomically(self.path, json.dumps(content, indent=1, sort_keys=True).encode())


def _run(entry: dict[str, Any]) -> Run:
    """A run in the file; earlier versions recorded more."""
    names = {field.name for field in dataclasses.fields(Run)}
    return Run(**{name: value for name, value in entry["run"].items() if name in names})


def _metric(run: Run) -> float:
    return math.nan if run.metric is None else run.metric


def runs(
    work: Work, seeds: int, done: Mapping[str, Mapping[int, Run]]
) -> Iterator[tuple[Work, Run]]:
    """The missing runs of both sides for each seed from 0, ours first.

    Raises:
        UserError: A side failed.
    """
    for seed in range(seeds):
        for side in SIDES:
            if seed not in done[side]:
                asked = dataclasses.replace(work, side=side, seed=seed, paired=True)
                yield asked, run_side(asked)
