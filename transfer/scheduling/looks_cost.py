"""What seeds until decided will cost, by simulation: on average and at most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transfer.records.cells import Cell
from transfer.report.gains import controls_of
from transfer.scheduling.until_decided import require_fit
from transfer.stats.looks import course, critical_values

_GAINS = (0.0, 1.0, 2.0)
"""In standard deviations of a run, without the effect of its seed."""

_SPREADS = (0.25, 0.5, 1.0)
"""Standard deviations of a run, in margins; a larger margin in deviations ends rows earlier."""

_TABLES = 2000


def cost_of_looks(
    cells: Sequence[Cell], baseline: str, looks: tuple[int, ...], margin: float | None = None
) -> list[str]:
    """Sentences on the runs of each task, for true gains in standard deviations of a unit.

    Args:
        cells: The runs of all planned looks.
        baseline: Row that gains are computed against.
        looks: Units of each row at the looks.
        margin: Largest difference, in points, that does not matter; None if none is fixed.

    Raises:
        UserError: The plan does not fit the suite.
    """
    require_fit(cells, baseline, looks)
    lines = []
    for task in dict.fromkeys(cell.task for cell in cells):
        of_task = {cell.backbone: cell.plain() for cell in cells if cell.task == task}
        controls = controls_of(of_task) - {baseline}
        rows = max(1, len(of_task) - 1 - len(controls))  # controls are judged each by itself
        values = ", ".join(f"{value:.2f}" for value in critical_values(rows, looks))
        none, one, two = (f"{_runs(rows, looks, gain):.0f}" for gain in _GAINS)
        without = " without the controls" if controls else ""
        lines.append(
            f"{task}, until decided: at most {len(of_task) * looks[-1]} runs. On average{without} "
            f"{none} if no row gains, {one} if all gain 1 and {two} if all gain 2 standard "
            f"deviations of a run (without the effect of its seed).{_within(rows, looks, margin)} "
            f"Critical values at looks {', '.join(map(str, looks))}: {values}."
        )
    return lines


def _within(rows: int, looks: tuple[int, ...], margin: float | None) -> str:
    """A sentence on a margin, which decides rows that do not gain; empty without one."""
    if margin is None:
        return ""
    low, middle, high = (f"{_runs(rows, looks, 0.0, 1 / spread):.0f}" for spread in _SPREADS)
    points = [f"{margin * spread:g}" for spread in _SPREADS]
    return (
        f" These do not count the margin of {margin:g}: with it, if no row gains, {low}, {middle} "
        f"and {high} for standard deviations of {points[0]}, {points[1]} and {points[2]} points."
    )


def _runs(rows: int, looks: tuple[int, ...], gain: float, margin: float = 0.0) -> float:
    """Mean number of runs of a table; the baseline runs as long as any row."""
    units = np.random.default_rng(0).standard_normal((_TABLES, rows + 1, looks[-1]))
    units[:, 1:] += gain
    ends = course(units, looks, margin=margin)
    return float((ends.units.sum(axis=1) + ends.units.max(axis=1)).mean())
