"""Sentences on the design of a table: what its verdicts rest on, and what they leave out."""

from collections.abc import Mapping, Sequence

from transfer.stats.blocks import shared_seeds
from transfer.stats.rows import SEVERAL, Observation, RowResult
from transfer.stats.spreads import FEWEST_UNITS, Design


def design_in_words(design: Design, rows: Sequence[RowResult]) -> str:
    """The design, and the assumption that its verdicts rest on."""
    units = SEVERAL[rows[0].unit]
    if design.blocked:
        words = f"{design.sizes[0]} {units} a row, the i-th with the same seed in every row"
    else:
        words = f"{units}, compared as independent, because the rows do not all share their seeds"
        if len(design.sizes) == 2 and min(design.sizes) < FEWEST_UNITS:
            words = (
                f"{units}, compared as independent, because a single row is compared within "
                f"blocks of seeds only from {FEWEST_UNITS} units on"
            )
    if design.robust:
        return words
    few = min(design.sizes)
    return (
        f"{words}. With {few} units a row, the verdicts assume that all rows have the same "
        "spread: so few units cannot show a difference"
    )


def dependent(
    rows: Mapping[str, RowResult], cells: Mapping[str, Sequence[Observation]]
) -> tuple[str, ...]:
    """A note on rows whose classifiers share a fine-tuning seed."""
    names = [
        name for name, row in rows.items() if row.unit == "classifier" and shared_seeds(cells[name])
    ]
    if not names:
        return ()
    return (
        f"{', '.join(names)}: several classifiers were fine-tuned with the same seed, so these "
        "units are not independent, and the effect of a seed on a single row is in no interval; "
        "fine-tune the i-th classifier with the i-th seed (docs/statistics.md).",
    )


def mixed_kinds(rows: Sequence[RowResult]) -> str:
    """What it means to compare recipes with given weights."""
    recipes = ", ".join(row.row for row in rows if row.unit == "classifier")
    weights = ", ".join(row.row for row in rows if row.unit == "fine-tuning")
    return (
        f"{recipes}: several classifiers, so the figures describe the recipe; {weights}: one "
        "classifier, so they describe these weights. A gain between the two compares a recipe "
        "with one set of weights. Only spreads of the same kind are pooled, so Welch's tests "
        "with Bonferroni's correction decide this table."
    )


def thin_baseline(design: Design, rows: Sequence[RowResult]) -> list[str]:
    """A note if rows have more units than their common baseline."""
    of_baseline, *others = design.sizes
    if of_baseline >= max(others):
        return []
    return [
        f"{rows[0].row} has {of_baseline} units, other rows up to {max(others)}: every gain "
        "depends on the baseline, and if its spread is larger, false verdicts become more likely; "
        "give it as many units (docs/statistics.md)."
    ]


def listed(seeds: set[int]) -> str:
    """Seeds with consecutive numbers as ranges: ``0-2, 7``."""
    parts: list[list[int]] = []
    for seed in sorted(seeds):
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
