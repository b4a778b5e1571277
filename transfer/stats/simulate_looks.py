"""Simulation of looks: planned, beyond a plan, without a plan; and what a verdict costs."""

from pathlib import Path

import numpy as np

from transfer.records import records
from transfer.stats.critical import critical_value, power
from transfer.stats.looks import (
    Course,
    course,
    design_at,
    nominal_level,
    statistics,
    unplanned_level,
)
from transfer.stats.power import POWER
from transfer.stats.simulated_tables import FloatArray, tables_of
from transfer.stats.spreads import Design

LOOKS = (3, 5, 8, 12)
BEYOND = (16,)
ROWS = 3


def print_looks(draws: int) -> None:
    """False verdicts, coverage and units of each way to stop."""
    level = nominal_level(ROWS, LOOKS)
    values = [critical_value(design_at(ROWS, look), level) for look in LOOKS]
    print(f"\nCritical values for {ROWS} rows at looks {', '.join(map(str, LOOKS))}: ", end="")
    print(f"{', '.join(f'{value:.2f}' for value in values)}; nominal level {level:.2%}.\n")
    print("| gain, sd after blocks | rows stop | false | all intervals hold | decided | units |")
    print("|---|---|---|---|---|---|")
    for gain in (0.0, 1.0, 2.0):
        units = tables_of(np.random.default_rng(3), (draws, ROWS + 1, BEYOND[-1]), icc=0.5)
        units[:, 1] += gain * np.sqrt(0.5)
        truth = np.array([gain * np.sqrt(0.5), 0.0, 0.0])
        for rule, found in (
            ("at the first verdict", [course(units, LOOKS)]),
            ("at the first loss", [course(units, LOOKS, only_losses=True)]),
            ("never, and every look counts", _every_look(units)),
            ("at the first verdict, one more look at 16", [course(units, LOOKS, beyond=BEYOND)]),
        ):
            apart = np.array([np.abs(one.gains - truth) <= one.reach for one in found])
            called = np.array([np.abs(one.gains) >= one.reach for one in found])
            is_false = (called & (truth == 0)).any(axis=(0, 2)).mean()
            holds, last = apart.all(axis=(0, 2)).mean(), found[-1]
            print(
                f"| {gain:g} | {rule} | {is_false:.1%} | {holds:.1%} "
                f"| {called[-1][:, 0].mean():.0%} | {last.units[:, 0].mean():.1f} |"
            )


def _every_look(units: FloatArray) -> list[Course]:
    """Every planned look at tables in which no row stops."""
    level, courses = nominal_level(ROWS, LOOKS), []
    for look in LOOKS:
        gains, errors = statistics(units[:, :, :look], True)
        half = critical_value(design_at(ROWS, look), level) * errors
        taken = np.full(gains.shape, float(look))
        courses.append(Course(gains, half, taken, np.abs(gains) >= half))
    return courses


def print_unplanned(draws: int) -> None:
    """False verdicts if units are added until a verdict comes, without a plan."""
    rows, looks = ROWS, (3, 4, 5, 6, 8, 10, 12)
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


def print_costs(results: Path) -> None:
    """Runs of a table until a gain is found with 80 % power, and their hours in recorded runs."""
    hours = _hours(results)
    heads = ["independent", "blocks", "until decided, mean (rows decided)"]
    print("\n| gain, sd | ICC | " + " | ".join(f"runs: {head}" for head in heads), end="")
    print("".join(f" | hours, {task}" for task in hours) + " |")
    print("|---" * (2 + len(heads) + len(hours)) + "|")
    for gain in (1.0, 2.0):
        for icc in (0.0, 0.5, 0.9):
            effect = gain / np.sqrt(1 - icc)
            units = np.random.default_rng(8).standard_normal((4000, ROWS + 1, LOOKS[-1]))
            units[:, 1:] += effect
            ends = course(units, LOOKS)
            runs = [
                _enough(gain, False) * (ROWS + 1),
                _enough(float(effect), True) * (ROWS + 1),
                float((ends.units.sum(axis=1) + ends.units.max(axis=1)).mean()),
            ]
            cells = [f"{number:.0f}" for number in runs]
            cells[-1] += f" ({ends.decided.mean():.0%})"
            cells += [" / ".join(f"{n * each:.1f}" for n in runs) for each in hours.values()]
            print(f"| {gain:g} | {icc:g} | {' | '.join(cells)} |")
    each = "; ".join(f"{task} {mean:.2f}" for task, mean in hours.items())
    print(f"\nMean hours of a recorded run: {each}.")


def _hours(results: Path) -> dict[str, float]:
    """Mean hours of the recorded runs of each task, from start to record."""
    by_task: dict[str, list[float]] = {}
    for record in records.read_all(results, "")[0]:
        seconds = sum(record.content["seconds"].values())
        by_task.setdefault(record.cell["task"], []).append(seconds / 3600)
    return {task: float(np.mean(several)) for task, several in sorted(by_task.items())}


def _enough(effect: float, blocked: bool) -> int:
    count = 2
    while power(effect, Design((count,) * (ROWS + 1), blocked)) < POWER:
        count += 1
    return count
