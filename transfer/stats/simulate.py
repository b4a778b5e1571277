"""Simulation of verdicts on synthetic tables whose truth is known.

``python -m transfer.stats.simulate`` prints the tables of docs/statistics.md, with the functions of
the real tables. Values are normal, and the standard deviation of a unit is 1.
"""

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from transfer.stats.critical import LEVEL, critical_value, power
from transfer.stats.looks import course, design_at, nominal_level, statistics, unplanned_level
from transfer.stats.power import POWER
from transfer.stats.spreads import Design

FloatArray = npt.NDArray[np.float64]

UNITS = (3, 5, 10)
LOOKS = (3, 5, 8, 12)
SPREADS = {"equal": (), "one row, three times": (1,), "baseline, three times": (0,)}

OTHER_SPREADS = {
    "baseline, twice": (2, 1, 1, 1, 1, 1, 1),
    "one row, five times": (1, 5, 1, 1, 1, 1, 1),
    "two rows, three times": (1, 3, 3, 1, 1, 1, 1),
    "baseline and a row, three times": (3, 3, 1, 1, 1, 1, 1),
    "one row, a third": (1, 1 / 3, 1, 1, 1, 1, 1),
}
"""Spreads of the baseline and six rows, beside those that the constants were tuned on."""


def tables_of(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    *,
    icc: float = 0.0,
    interaction: float = 0.0,
    noisy: Sequence[int] = (),
) -> FloatArray:
    """Synthetic tables without gains, the baseline first.

    Args:
        rng: source of the values.
        shape: tables, groups and units.
        icc: share of a unit's variance that its seed adds to all rows alike, in [0, 1).
        interaction: variance, beside the 1 of a unit, that a seed adds to each row by itself.
        noisy: groups with three times the spread.
    """
    tables, _, units = shape
    rest = rng.standard_normal(shape) * np.sqrt(1 - icc + interaction)
    rest[:, list(noisy)] *= 3
    shared: FloatArray = rng.standard_normal((tables, 1, units)) * np.sqrt(icc)
    return rest + shared


def judged(values: FloatArray, blocked: bool) -> tuple[float, float, FloatArray]:
    """Share of tables with a verdict, mean half-width, and the half-widths, (tables, rows)."""
    gains, errors = statistics(values, blocked)
    half = critical_value(Design((values.shape[2],) * values.shape[1], blocked)) * errors
    return float((np.abs(gains) >= half).any(axis=1).mean()), float(half.mean()), half


def pooled(values: FloatArray) -> tuple[float, float, FloatArray]:
    """The same for Dunnett's comparison with one pooled spread and no blocks, for comparison."""
    groups, count = values.shape[1:]
    spread = np.sqrt(values.var(axis=2, ddof=1).mean(axis=1, keepdims=True))
    # Dunnett's critical value, from the design whose rows have the same degrees of freedom.
    rng = np.random.default_rng(1)
    means = rng.standard_normal((200_000, groups)) / np.sqrt(count)
    df = groups * (count - 1)
    drawn = np.sqrt(rng.chisquare(df, (200_000, 1)) / df * 2 / count)
    critical = np.quantile(np.abs((means[:, 1:] - means[:, :1]) / drawn).max(axis=1), 1 - LEVEL)
    gains = values[:, 1:].mean(axis=2) - values[:, :1].mean(axis=2)
    half = np.repeat(critical * spread * np.sqrt(2 / count), groups - 1, axis=1)
    return float((np.abs(gains) >= half).any(axis=1).mean()), float(half.mean()), half


def found(values: FloatArray, half: FloatArray, gain: float) -> float:
    """Share of tables in which the first row's true gain is found."""
    gains = values[:, 1].mean(axis=1) - values[:, 0].mean(axis=1) + gain
    return float((gains >= half[:, 0]).mean())


def main() -> None:
    """Print the simulated tables of docs/statistics.md as markdown."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "--draws", type=int, default=10_000, help="simulated tables per line (default: %(default)s)"
    )
    draws = parser.parse_args().draws
    tables = (
        _print_choices,
        _print_levels,
        _print_others,
        _print_blocks,
        _print_looks,
        _print_unplanned,
    )
    for print_table in tables:
        print_table(draws)
    _print_costs()


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


def _print_looks(draws: int) -> None:
    rows = 3
    level = nominal_level(rows, LOOKS)
    values = [critical_value(design_at(rows, look), level) for look in LOOKS]
    print(f"\nCritical values for {rows} rows at looks {', '.join(map(str, LOOKS))}: ", end="")
    print(f"{', '.join(f'{value:.2f}' for value in values)}; nominal level {level:.2%}.\n")
    print("| gain, sd after blocks | rows stop | false | all intervals hold | decided | units |")
    print("|---|---|---|---|---|---|")
    for gain in (0.0, 1.0, 2.0):
        units = tables_of(np.random.default_rng(3), (draws, rows + 1, LOOKS[-1]), icc=0.5)
        units[:, 1] += gain * np.sqrt(0.5)
        truth = np.array([gain * np.sqrt(0.5), 0.0, 0.0])
        for rule, looks, losses in (
            ("at the first verdict", LOOKS, False),
            ("at the first loss", LOOKS, True),
            ("never", LOOKS[-1:], False),
        ):
            ends = course(units, looks, only_losses=losses) if rule != "never" else None
            if ends is None:  # every look is taken, and the last one counts
                gains, errors = statistics(units, True)
                half = critical_value(design_at(rows, LOOKS[-1]), level) * errors
                stopped, decided = float(LOOKS[-1]), float((np.abs(gains) >= half)[:, 0].mean())
            else:
                gains, half = ends.gains, ends.reach
                stopped, decided = float(ends.units[:, 0].mean()), float(ends.decided[:, 0].mean())
            is_false = ((np.abs(gains) >= half) & (truth == 0)).any(axis=1).mean()
            holds = (np.abs(gains - truth) <= half).all(axis=1).mean()
            print(
                f"| {gain:g} | {rule} | {is_false:.1%} | {holds:.1%} | {decided:.0%} "
                f"| {stopped:.1f} |"
            )


def _print_unplanned(draws: int) -> None:
    """False verdicts if units are added until a verdict comes, without a plan."""
    rows, looks = 3, (3, 4, 5, 6, 8, 10, 12)
    print("\n| looks | false at 5 % each | false as the tables judge |\n|---|---|---|")
    units = tables_of(np.random.default_rng(4), (draws, rows + 1, looks[-1]))
    always, ours = np.zeros(draws, bool), np.zeros(draws, bool)
    for number, look in enumerate(looks, 1):
        gains, errors = statistics(units[:, :, :look], True)
        largest = np.abs(gains / errors).max(axis=1)
        design = design_at(rows, look)
        always |= largest >= critical_value(design)
        ours |= largest >= critical_value(design, unplanned_level(number))
        so_far = ", ".join(map(str, looks[:number]))
        print(f"| {so_far} | {always.mean():.1%} | {ours.mean():.1%} |")


def _print_costs() -> None:
    """Runs of a table until a gain is found with 80 % power, by design and by looks."""
    rows = 3
    print("\n| gain, sd | ICC | runs: independent | runs: blocks | runs: until decided, mean |")
    print("|---|---|---|---|---|")
    for gain in (1.0, 2.0):
        for icc in (0.0, 0.5, 0.9):
            effect = gain / np.sqrt(1 - icc)
            plain = _enough(gain, rows, False)
            blocks = _enough(float(effect), rows, True)
            units = np.random.default_rng(8).standard_normal((4000, rows + 1, LOOKS[-1]))
            units[:, 1:] += effect
            ends = course(units, LOOKS)
            runs = ends.units.sum(axis=1) + ends.units.max(axis=1)
            share = f"{ends.decided.mean():.0%} decided"
            cells = f"{plain * (rows + 1)} | {blocks * (rows + 1)} | {runs.mean():.0f} ({share})"
            print(f"| {gain:g} | {icc:g} | {cells} |")


def _enough(effect: float, rows: int, blocked: bool) -> int:
    count = 2
    while power(effect, Design((count,) * (rows + 1), blocked)) < POWER:
        count += 1
    return count


if __name__ == "__main__":
    main()
