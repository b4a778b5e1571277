"""How well the intervals over test images hold, on the images of recorded runs.

``python -m transfer.report.held_out`` prints the tables of docs/statistics.md from a results folder
with per-image results. A test set is a number of copies of each image.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transfer.report.collection import collect
from transfer.report.gains import GainTable
from transfer.report.image_noise import metric_of, outcomes_of
from transfer.stats.image_halves import metric_on_draws, reach_of_draws
from transfer.stats.total import total_interval

FloatArray = npt.NDArray[np.float64]
Copies = npt.NDArray[np.int32]

DRAWS = 150


@dataclass(frozen=True)
class Recorded:
    """A recorded table, with the outcomes of its runs grouped by row and unit."""

    table: GainTable
    runs: Mapping[str, Sequence[Sequence[Any]]]
    metric: str

    @property
    def named(self) -> str:
        """The first two cells of its lines."""
        return f"{self.metric} | {self.table.baseline}"

    @property
    def images(self) -> int:
        """Number of test images."""
        return len(next(iter(self.runs.values()))[0][0].images)

    def gains(self, copies: Copies) -> FloatArray:
        """Gains of the rows on some test sets, (rows, test sets)."""
        kind: Any = self.metric
        means = {
            name: np.mean(
                [np.mean([metric_on_draws(run, kind, copies) for run in u], axis=0) for u in units],
                axis=0,
            )
            for name, units in self.runs.items()
        }
        base = means.pop(self.table.baseline)
        return np.array([mean - base for mean in means.values()])


def main() -> None:
    """Print how often the intervals over test images hold."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="results folder")
    parser.add_argument("--repeats", type=int, default=60, help="test sets (default: %(default)s)")
    args = parser.parse_args()
    several = list(_recorded(args.results))
    areas = [replace(one, metric="mAP area") for one in several if one.metric == "mAP 11-point"]
    _print_halves(several, args.repeats)
    _print_population([*several, *areas], args.repeats)


def _recorded(results: Path) -> Iterator[Recorded]:
    for table in collect(results).gains:
        runs = {row.name: outcomes_of(row, table.setting.metric) for row in table.rows}
        yield Recorded(table, runs, metric_of(table.rows[0].records[0], table.setting.metric))


def _print_halves(several: Sequence[Recorded], repeats: int) -> None:
    """Gains on one half of the test images, in intervals from the other half."""
    print("| metric | baseline | total interval | images' interval, for a new half |")
    print("|---|---|---|---|")
    for one in several:
        hits = np.mean([_half(one, number) for number in range(repeats)], axis=(0, 2))
        print(f"| {one.named} | {' | '.join(f'{share:.1%}' for share in hits)} |", flush=True)


def _half(one: Recorded, number: int) -> FloatArray:
    """Whether each row's gain is in each interval, (2, rows), for one split of the images."""
    rng = np.random.default_rng(number)
    first = np.zeros(one.images, np.int32)
    first[rng.permutation(one.images)[: one.images // 2]] = 1
    ours, theirs = one.gains(np.array([first, 1 - first]).T).T
    low, high = _interval(one, first, ours, rng)
    total = [
        total_interval(
            gain,
            (gain + row.gain_low - row.gain, gain + row.gain_high - row.gain),
            ends,
            1 if row.control else max(1, len(one.table.analysis.family)),
        )
        for gain, ends, row in zip(ours, zip(low, high, strict=True), _rows(one), strict=True)
    ]
    below, above = np.array(total).T
    two = np.sqrt(2)  # the other half has as much noise of its own
    return np.array(
        [
            (below <= theirs) & (theirs <= above),
            (ours - two * (ours - low) <= theirs) & (theirs <= ours + two * (high - ours)),
        ],
        dtype=float,
    )


def _rows(one: Recorded) -> list[Any]:
    return [row.statistics for row in one.table.rows if row.name != one.table.baseline]


def _print_population(several: Sequence[Recorded], repeats: int) -> None:
    """The gain on all images, in intervals from test sets drawn from them."""
    print("\n| metric | baseline | interval from halves | basic bootstrap interval |")
    print("|---|---|---|---|")
    for one in several:
        even = np.full(one.images, 1 / one.images)
        whole = one.gains(np.ones((one.images, 1), np.int32))[:, 0]
        hits = []
        for number in range(repeats):
            rng = np.random.default_rng(number)
            drawn = rng.multinomial(one.images, even).astype(np.int32)
            gains = one.gains(drawn[:, None])[:, 0]
            both = _interval(one, drawn, gains, rng), _bootstrap(one, drawn, gains, rng)
            hits.append([(low <= whole) & (whole <= high) for low, high in both])
        shares = " | ".join(f"{share:.1%}" for share in np.mean(hits, axis=(0, 2)))
        print(f"| {one.named} | {shares} |", flush=True)


def _bootstrap(
    one: Recorded, copies: Copies, gains: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Intervals of the basic bootstrap, for comparison."""
    count = int(copies.sum())
    drawn = one.gains(rng.multinomial(count, copies / count, size=DRAWS).T.astype(np.int32))
    upper, lower = np.percentile(drawn, (97.5, 2.5), axis=1)
    return 2 * gains - upper, 2 * gains - lower


def _interval(
    one: Recorded, copies: Copies, gains: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """The intervals of the gains on a test set over its images."""
    images = np.repeat(np.arange(one.images), copies)
    halves = [rng.permutation(images)[: len(images) // 2] for _ in range(DRAWS)]
    drawn = np.array([np.bincount(half, minlength=one.images) for half in halves], np.int32).T
    distances = one.gains(drawn) - gains[:, None]
    reach = np.array([reach_of_draws(own, len(images)) for own in distances])
    return gains - reach, gains + reach


if __name__ == "__main__":
    main()
