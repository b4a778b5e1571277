"""Simulation of verdicts on synthetic tables whose truth is known.

``python -m transfer.stats.simulate`` prints the tables of docs/statistics.md, with the functions of
the real tables.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from transfer.stats.critical import LEVEL
from transfer.stats.looks import design_at
from transfer.stats.simulate_looks import print_costs, print_looks, print_unplanned
from transfer.stats.simulate_sources import print_data_sets, print_totals
from transfer.stats.simulated_tables import (
    UNITS,
    FloatArray,
    dunnett,
    found,
    judged,
    pooled,
    tables_of,
)

SPREADS = {"equal": (), "one row, three times": (1,), "baseline, three times": (0,)}

OTHER_SPREADS = {
    "baseline, twice": (2, 1, 1, 1, 1, 1, 1),
    "one row, five times": (1, 5, 1, 1, 1, 1, 1),
    "two rows, three times": (1, 3, 3, 1, 1, 1, 1),
    "baseline and a row, three times": (3, 3, 1, 1, 1, 1, 1),
    "one row, a third": (1, 1 / 3, 1, 1, 1, 1, 1),
}
"""Spreads of the baseline and six rows, beside those that the constants were tuned on."""


def main() -> None:
    """Print the simulated tables of docs/statistics.md as markdown."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--draws", type=int, default=10_000, help="simulated tables per line (default: %(default)s)"
    )
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="recorded runs, for hours"
    )
    args = parser.parse_args()
    _print_choices(args.draws)
    _print_levels(args.draws)
    _print_widths()
    _print_others(args.draws)
    _print_blocks(args.draws)
    print_looks(args.draws)
    print_unplanned(args.draws)
    print_costs(args.results)
    print_totals(args.draws)
    print_data_sets(args.draws)


def _print_choices(draws: int) -> None:
    """Standard errors to choose from, each with a critical value calibrated at equal spreads."""
    choices: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
        "pooled": lambda pooled, own: pooled * 2,
        "own spreads only": lambda pooled, own: own[:, 1:] + own[:, :1],
        "the larger of pooled and own": lambda pooled, own: np.maximum(
            2 * pooled, own[:, 1:] + own[:, :1]
        ),
    }
    print("| standard error | units | width | " + " | ".join(f"false, {s}" for s in SPREADS) + " |")
    print("|---|---|---|---|---|---|")
    for units in (5, 10):
        shape = (draws, 7, units)
        width = 0.0
        for name, choice in choices.items():
            shares, critical, half = [], 0.0, 0.0
            for noisy in SPREADS.values():
                values = tables_of(np.random.default_rng(units), shape, noisy=noisy)
                own = values.var(axis=2, ddof=1)
                mean = own.mean(axis=1, keepdims=True)
                errors = np.sqrt(choice(mean, own) / units) * np.ones((1, 6))
                gains = values[:, 1:].mean(axis=2) - values[:, :1].mean(axis=2)
                largest = np.abs(gains / errors).max(axis=1)
                if not noisy:
                    critical = float(np.quantile(largest, 1 - LEVEL))
                    half = critical * float(errors.mean())
                    width = half if name == "pooled" else width
                shares.append(float((largest >= critical).mean()))
            cells = " | ".join(f"{share:.1%}" for share in shares)
            print(f"| {name} | {units} | {half / width:.3f} | {cells} |")
    print()


def _print_levels(draws: int) -> None:
    print("| rows | units | design | width | " + " | ".join(f"false, {s}" for s in SPREADS) + " |")
    print("|---|---|---|---|---|---|---|")
    for rows in (1, 3, 6):
        for units in UNITS:
            for blocked in (False, True):
                if blocked != design_at(rows, units).blocked and blocked:
                    continue
                shape = (draws, rows + 1, units)
                equal = tables_of(np.random.default_rng(units), shape)
                width = judged(equal, blocked)[1] / pooled(equal)[1]
                shares = [
                    judged(tables_of(np.random.default_rng(units), shape, noisy=noisy), blocked)[0]
                    for noisy in SPREADS.values()
                ]
                name = "blocks" if blocked else "independent"
                cells = " | ".join(f"{share:.1%}" for share in shares)
                print(f"| {rows} | {units} | {name} | {width:.3f} | {cells} |")


def _print_widths() -> None:
    """Width that blocks cost by their degrees of freedom alone, if a seed has no effect."""
    from scipy import special

    def width(rows: int, df: int) -> float:
        mean = np.exp(special.gammaln((df + 1) / 2) - special.gammaln(df / 2)) * np.sqrt(2 / df)
        return float(dunnett(rows, df) * mean)

    print("\n| rows | units | degrees of freedom: independent | blocks | width |")
    print("|---|---|---|---|---|")
    for rows in (1, 3, 6):
        for units in UNITS:
            if design_at(rows, units).blocked:
                free, blocked = (rows + 1) * (units - 1), rows * (units - 1)
                ratio = width(rows, blocked) / width(rows, free)
                print(f"| {rows} | {units} | {free} | {blocked} | {ratio:.3f} |")


def _print_others(draws: int) -> None:
    """False verdicts of six rows in blocks, where the procedure's constants were not tuned."""
    heads = [*OTHER_SPREADS, *(f"rows answer a seed differently, ICC {icc}" for icc in (0.5, 0.9))]
    print("\n| units | " + " | ".join(heads) + " |")
    print("|---" * (1 + len(heads)) + "|")
    for units in UNITS:
        shape = (draws, 7, units)
        shares = []
        for spreads in OTHER_SPREADS.values():
            values = tables_of(np.random.default_rng(99), shape) * np.array(spreads)[:, None]
            shares.append(judged(values, True)[0])
        for icc in (0.5, 0.9):
            rng = np.random.default_rng(99)
            answers = 1 + 0.5 * rng.standard_normal((draws, 7, 1))
            shared = np.sqrt(icc) * answers * rng.standard_normal((draws, 1, units))
            values = np.sqrt(1 - icc) * rng.standard_normal(shape) + shared
            shares.append(judged(values, True)[0])
        print(f"| {units} | {' | '.join(f'{share:.1%}' for share in shares)} |")


def _print_blocks(draws: int) -> None:
    print("\n| rows | ICC | interaction | units | false: pooled | blocks | half-width: pooled |"
          " blocks | found at 1 sd: pooled | blocks | at 2 sd: pooled | blocks |")  # fmt: skip
    print("|---" * 12 + "|")
    for rows in (3, 6):
        for icc in (0.0, 0.5, 0.9):
            for interaction in (0.0, 0.5):
                for units in UNITS:
                    values = tables_of(
                        np.random.default_rng(units),
                        (draws, rows + 1, units),
                        icc=icc,
                        interaction=interaction,
                    )
                    old, new = pooled(values), judged(values, True)
                    cells = [f"{old[0]:.1%}", f"{new[0]:.1%}", f"{old[1]:.2f}", f"{new[1]:.2f}"]
                    cells += [
                        f"{found(values, one[2], gain):.0%}"
                        for gain in (1.0, 2.0)
                        for one in (old, new)
                    ]
                    head = f"{rows} | {icc:g} | {interaction:g} | {units}"
                    print(f"| {head} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
