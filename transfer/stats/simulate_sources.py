"""Simulation of what one test set does not show: other test images, and other data sets."""

import numpy as np

from transfer.stats.critical import LEVEL, critical_value
from transfer.stats.data_sets import combine, rank
from transfer.stats.looks import design_at, statistics
from transfer.stats.simulated_tables import UNITS, tables_of
from transfer.stats.total import total_interval

ROWS = 3
IMAGES = 300


def print_totals(draws: int) -> None:
    """Coverage of the total interval, and of the table's own, of gains on any test images."""
    print("\n| images' noise | units | table's interval | total interval | half-width |")
    print("|---|---|---|---|---|")
    for noise in (0.5, 1.0, 2.0):
        for units in UNITS:
            rng = np.random.default_rng(units)
            values = tables_of(rng, (draws, ROWS + 1, units))
            gains, errors = statistics(values, design_at(ROWS, units).blocked)
            half = critical_value(design_at(ROWS, units)) * errors
            images = rng.standard_normal((draws, ROWS + 1)) * noise / np.sqrt(units)
            gains += images[:, 1:] - images[:, :1]
            drawn = np.sqrt(rng.chisquare(IMAGES - 1, half.shape) / (IMAGES - 1))
            of_images = 1.96 * noise * np.sqrt(2 / units) * drawn
            low, high = total_interval(
                gains,
                units=(gains - half, gains + half),
                images=(gains - of_images, gains + of_images),
                rows=ROWS,
            )
            own = (np.abs(gains) <= half).all(axis=1).mean()
            total = ((low <= 0) & (high >= 0)).all(axis=1).mean()
            width = float((high - low).mean()) / 2
            print(f"| {noise:g} | {units} | {own:.1%} | {total:.1%} | {width:.2f} |")


def print_data_sets(draws: int) -> None:
    """False verdicts over data sets, by ranks and by gains, and the power of both."""
    print("\n| data sets | spread between | false: ranks | gains | found at 1 sd: ranks | gains |")
    print("|---|---|---|---|---|---|")
    few = max(1, draws // 5)
    for sets in (5, 8, 12):
        for spread in (0.0, 0.5, 1.0):
            cells = []
            for gain in (0.0, 1.0):
                rng = np.random.default_rng(sets)
                values = tables_of(rng, (few * sets, ROWS + 1, 3))
                values += rng.standard_normal((few * sets, ROWS + 1, 1)) * spread / np.sqrt(2)
                values[:, 1] += gain
                cells.append(_found_over_data(values, sets, first_only=gain > 0))
            shares = " | ".join(f"{share:.1%}" for pair in cells for share in pair)
            print(f"| {sets} | {spread:g} | {shares} |")


def _found_over_data(values: np.ndarray, sets: int, *, first_only: bool) -> tuple[float, float]:
    """Shares of simulated suites with a verdict on a row, or on the first one, by both methods."""
    gains, errors = statistics(values, True)
    rows = 1 if first_only else ROWS
    by_ranks, by_gains = [], []
    for start in range(0, len(values), sets):
        some = slice(start, start + sets)
        by_ranks.append((rank(values[some].mean(axis=2)).p[:rows] <= LEVEL).any())
        over = [combine(gains[some, r], errors[some, r], LEVEL / ROWS) for r in range(rows)]
        by_gains.append(any(one.low >= 0 or one.high <= 0 for one in over))
    return float(np.mean(by_ranks)), float(np.mean(by_gains))
