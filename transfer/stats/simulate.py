"""Simulation of a table's statistics on synthetic tables whose truth is known.

``python -m transfer.stats.simulate`` prints the tables of docs/statistics.md, with the functions of
the real tables: a baseline and six rows, normal values with a spread of .5 points.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import numpy.typing as npt

from transfer.stats.comparison import SPREAD_LEVEL, Comparison, Gain, compare, spread_p
from transfer.stats.power import Design, power, units_needed
from transfer.stats.rows import mean_interval

FloatArray = npt.NDArray[np.float64]

SD = 0.5
ROWS = 6
SEEDS = (3, 5, 10)
GAIN = 1.0
TRUTH = (0.0, 0.25, 0.5, GAIN, 1.5, -GAIN)
"""True gains, in points, in tables that are not pure noise."""

SCENARIOS: dict[str, tuple[float, ...]] = {
    "equal spread": (1, 1, 1, 1, 1, 1, 1),
    "one row, three times": (1, 1, 1, 1, 3, 1, 1),
    "baseline, three times": (3, 1, 1, 1, 1, 1, 1),
    "one row, a third": (1, 1, 1, 1, 1 / 3, 1, 1),
}
"""Spreads of the baseline and of the six rows, in units of SD."""


@dataclass(kw_only=True)
class Counts:
    """Numbers of tables with certain outcomes, out of ``draws``."""

    draws: int
    mean_covered: list[int] = field(default_factory=lambda: [0] * (ROWS + 1))
    false_verdict: int = 0
    all_covered: int = 0
    welch: int = 0
    found: int = 0

    def share(self, count: int) -> float:
        """A count as a share of the draws."""
        return count / self.draws


def simulate(
    spreads: Sequence[float],
    seeds: int,
    draws: int,
    *,
    spread_level: float = SPREAD_LEVEL,
) -> Counts:
    """Draw tables and count the outcomes of intervals and verdicts.

    Every draw is judged twice: as it is, where any verdict is false, and with the gains of
    ``TRUTH`` added, where the six intervals should include them and the gain of 1 point be found.

    Args:
        spreads: spreads of the baseline and six rows, in units of ``SD``.
        seeds: units per row, 2 or more.
        draws: tables to draw.
        spread_level: level of the spread test.
    """
    rng = np.random.default_rng(seeds)
    counts = Counts(draws=draws)
    scale = SD * np.array(spreads)[:, None]
    for _ in range(draws):
        table = rng.normal(size=(ROWS + 1, seeds)) * scale
        for i, values in enumerate(table):
            low, high = mean_interval(values)
            counts.mean_covered[i] += low is not None and high is not None and low <= 0 <= high
        noise = _compare(table, spread_level)
        counts.false_verdict += any(gain.verdict != "inconclusive" for gain in noise.gains)
        counts.welch += noise.method == "Welch-Holm"
        table[1:] += np.array(TRUTH)[:, None]
        real = _compare(table, spread_level)
        counts.all_covered += _all_covered(real.gains, TRUTH)
        counts.found += real.gains[TRUTH.index(GAIN)].verdict == "gain"
    return counts


@dataclass(frozen=True)
class Group:
    """The baseline or a row of a synthetic table.

    Attributes:
        units: number of units, 2 or more.
        spread: spread of a unit, in units of ``SD``.
        gain: true gain in points; 0 for the baseline.
        kind: kind of its spread.
    """

    units: int
    spread: float = 1.0
    gain: float = 0.0
    kind: str = "classifier"


def false_verdicts(groups: Sequence[Group], draws: int) -> float:
    """Share of tables in which a row equal to the baseline got a verdict.

    Args:
        groups: the baseline, then the rows.
        draws: tables to draw.
    """
    rng = np.random.default_rng(0)
    false = 0
    for _ in range(draws):
        table = [g.gain + rng.normal(0, SD * g.spread, g.units) for g in groups]
        gains = compare(table[0], table[1:], kinds=[group.kind for group in groups]).gains
        pairs = zip(gains, groups[1:], strict=True)
        false += any(gain.verdict != "inconclusive" and not row.gain for gain, row in pairs)
    return false / draws


def false_verdicts_over_splits(values: Sequence[float]) -> tuple[int, int]:
    """An A/A test: one row's runs under two names, split into halves in every possible way.

    Args:
        values: an even number of units of one row, 4 or more, in points.

    Returns:
        How many splits got a verdict, each of them false, and the number of splits. A split and
        its mirror image count as one.
    """
    units = np.array(values, dtype=float)
    half = len(units) // 2
    false = splits = 0
    for others in combinations(range(1, len(units)), half - 1):
        chosen = np.zeros(len(units), dtype=bool)
        chosen[[0, *others]] = True
        comparison = compare(units[chosen], [units[~chosen]])
        false += comparison.gains[0].verdict != "inconclusive"
        splits += 1
    return false, splits


def main() -> None:
    """Print the simulated tables of docs/statistics.md as markdown."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--draws", type=int, default=10_000, help="simulated tables per line (default: %(default)s)"
    )
    draws = parser.parse_args().draws
    _print_intervals(draws)
    _print_levels(draws)
    _print_sizes(draws)
    _print_controls(draws)
    _print_kinds(draws)
    _print_spread_tests(draws)
    _print_worst_cut(draws)
    _print_power(draws)
    _print_splits(max(1, draws // 50))


def _compare(table: FloatArray, spread_level: float = SPREAD_LEVEL) -> Comparison:
    return compare(table[0], list(table[1:]), spread_level=spread_level)


def _all_covered(gains: Sequence[Gain], truth: Sequence[float]) -> bool:
    """Whether every interval holds its true gain; one cut at zero excludes zero."""
    return all(
        gain.low <= true <= gain.high and (true != 0 or gain.verdict == "inconclusive")
        for gain, true in zip(gains, truth, strict=True)
    )


def _print_intervals(draws: int) -> None:
    print(
        "| spread | seeds | t interval, all rows | t interval, odd row | all six gains"
        " | false verdict | by Welch-Holm |\n|---|---|---|---|---|---|---|"
    )
    for name, spreads in SCENARIOS.items():
        odd = next((i for i, spread in enumerate(spreads) if spread != 1), 0)
        for seeds in SEEDS:
            counts = simulate(spreads, seeds, draws)
            cells = (
                f"{counts.share(sum(counts.mean_covered)) / (ROWS + 1):.1%}",
                f"{counts.share(counts.mean_covered[odd]):.1%}" if odd or spreads[0] != 1 else "",
                f"{counts.share(counts.all_covered):.1%}",
                f"{counts.share(counts.false_verdict):.1%}",
                f"{counts.share(counts.welch):.0%}",
            )
            print(f"| {name} | {seeds} | {' | '.join(cells)} |")


def _print_worst_cut(draws: int) -> None:
    """Intervals cut at zero in the worst case: Holm's test spends all its level on one last row."""
    print("\n| seeds | all six gains | false verdict on the last row |\n|---|---|---|")
    truth = [10.0] * (ROWS - 1) + [0.0]
    for seeds in SEEDS:
        rng = np.random.default_rng(seeds)
        covered = false = 0
        for _ in range(draws):
            table = rng.normal(0, SD, size=(ROWS + 1, seeds))
            table[1:] += np.array(truth)[:, None]
            gains = compare(table[0], list(table[1:]), kinds=range(ROWS + 1)).gains
            false += gains[-1].verdict != "inconclusive"
            covered += _all_covered(gains, truth)
        print(f"| {seeds} | {covered / draws:.1%} | {false / draws:.1%} |")


def _print_levels(draws: int) -> None:
    levels = (0.0, SPREAD_LEVEL, 0.2)
    heads = ("power, equal spread", "false, one noisy row", "false, noisy baseline")
    print("\n| seeds |", " | ".join(f"{head}: {a:g}" for head in heads for a in levels), "|")
    print("|---" * (1 + len(heads) * len(levels)) + "|")
    for seeds in SEEDS:
        equal, row, base = (
            [simulate(SCENARIOS[name], seeds, draws, spread_level=level) for level in levels]
            for name in ("equal spread", "one row, three times", "baseline, three times")
        )
        cells = [f"{run.share(run.found):.0%}" for run in equal]
        cells += [f"{run.share(run.false_verdict):.1%}" for run in (*row, *base)]
        print(f"| {seeds} | {' | '.join(cells)} |")


def _print_sizes(draws: int) -> None:
    """False verdicts if baseline and rows have different numbers of units."""
    print("\n| units, baseline | units, each row | equal spread | baseline, twice |")
    print("|---|---|---|---|")
    for of_base, of_row in ((3, 3), (3, 5), (3, 10), (5, 5), (5, 10), (10, 5)):
        shares = [
            false_verdicts([Group(of_base, spread), *[Group(of_row)] * ROWS], draws)
            for spread in (1, 2)
        ]
        print(f"| {of_base} | {of_row} | {' | '.join(f'{share:.1%}' for share in shares)} |")


def _print_controls(draws: int) -> None:
    """False verdicts on a row beside two controls that certainly lose."""
    print("\n| units | controls, equal spread | controls, a third |\n|---|---|---|")
    for units in SEEDS:
        shares = [
            false_verdicts([*[Group(units)] * 2, *[Group(units, spread, -10.0)] * 2], draws)
            for spread in (1, 1 / 3)
        ]
        print(f"| {units} | {' | '.join(f'{share:.1%}' for share in shares)} |")


def _print_kinds(draws: int) -> None:
    """False verdicts if given weights are the baseline and recipes are the rows."""
    spreads = (1, 2, 3)
    print("\n| fine-tunings, baseline | classifiers per row | rows |", end="")
    print("".join(f" spread of a recipe: {spread} |" for spread in spreads))
    print("|---" * (3 + len(spreads)) + "|")
    tables = (5, 2, 1), (5, 2, 6), (10, 2, 6), (5, 3, 1), (10, 3, 6), (5, 5, 6)
    for of_base, of_row, rows in tables:
        shares = [
            false_verdicts(
                [Group(of_base, kind="fine-tuning"), *[Group(of_row, spread)] * rows], draws
            )
            for spread in spreads
        ]
        cells = " | ".join(f"{share:.1%}" for share in shares)
        print(f"| {of_base} | {of_row} | {rows} | {cells} |")


def _print_spread_tests(draws: int) -> None:
    """How often tests at 5 % detect one row with three times the spread of six others."""
    from scipy import stats

    spreads = np.array(SCENARIOS["one row, three times"])
    print("\n| seeds | Cochran's C | Bartlett | Brown and Forsythe |\n|---|---|---|---|")
    for seeds in SEEDS:
        rng = np.random.default_rng(seeds)
        tables = rng.normal(size=(draws, ROWS + 1, seeds)) * spreads[:, None]
        found = np.mean(
            [
                (
                    spread_p([seeds] * (ROWS + 1), table.var(axis=1, ddof=1).tolist()) < 0.05,
                    stats.bartlett(*table).pvalue < 0.05,
                    stats.levene(*table, center="median").pvalue < 0.05,
                )
                for table in tables
            ],
            axis=0,
        )
        print(f"| {seeds} | {' | '.join(f'{share:.0%}' for share in found)} |")


def _print_power(draws: int) -> None:
    needed = units_needed(GAIN / SD, ROWS)
    print(f"\nSeeds needed for {GAIN:g} point at a spread of {SD:g}: {needed}.\n")
    print("| seeds | power, calculated | power, simulated |\n|---|---|---|")
    for seeds in sorted({*SEEDS, *([needed - 1, needed] if needed else [])}):
        calculated = power(GAIN / SD, Design(baseline=seeds, row=seeds, family=(seeds,) * ROWS))
        counts = simulate(SCENARIOS["equal spread"], seeds, draws)
        print(f"| {seeds} | {calculated:.1%} | {counts.share(counts.found):.1%} |")


def _print_splits(rows: int) -> None:
    rng = np.random.default_rng(0)
    shares = [
        np.divide(*false_verdicts_over_splits(rng.normal(size=10).tolist())) for _ in range(rows)
    ]
    print(f"\nA/A, {rows} rows of ten runs, all 126 splits of each: {np.mean(shares):.1%} of the")
    print(f"splits got a verdict; for single rows between {min(shares):.1%} and {max(shares):.1%}.")


if __name__ == "__main__":
    main()
