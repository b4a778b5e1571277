"""The generated parts on speed: a summary in the README, every table in ``docs/speed.md``."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from backbones.common.escape import markdown
from transfer.report.made_part import MadePart
from transfer.report.speed_tables import (
    Bench,
    breakdowns,
    by_machine,
    collect,
    differences,
    gains_of_parts,
    leaves_out,
    markdown_table,
    ratios_of,
    text,
)

PART = MadePart("speed", "transfer bench --table")
"""The part in the README."""

RATIOS = MadePart("ratios", "transfer bench --table")
"""The part in ``docs/speed.md`` with every ratio."""

BREAKDOWN = MadePart("breakdown", "transfer bench --table")
"""The part in ``docs/speed.md`` with the time of each side."""

LEFT_OUT = MadePart("left-out", "transfer bench --table")
"""The part in ``docs/speed.md`` with what each part of the speed layer gains."""


def write(results: Path, readme: Path) -> list[str]:
    """Write the tables into README and docs.

    Returns:
        A sentence for each file that is left out.

    Raises:
        UserError: The README lacks the marks.
    """
    found, bad = collect(results)
    same, bad_pairs = differences(results)
    PART.put(readme, summary(found))
    docs = readme.parent / "docs" / "speed.md"
    for part, made in (
        (RATIOS, text(found, same)),
        (BREAKDOWN, breakdowns(found)),
        (LEFT_OUT, gains_of_parts(found)),
    ):
        if part.is_in(docs):
            part.put(docs, made)
    return bad + bad_pairs


def summary(found: Sequence[Bench]) -> str:
    """One line for each machine: the median ratios of each task against each other side.

    Args:
        found: The records of :func:`transfer.report.speed_tables.collect`.
    """
    compared = [one for one in found if not leaves_out(one)]
    columns = sorted({_column(one) for one in compared}, key=lambda one: (one[0], one[1]))
    rows = []
    for machine, records in by_machine(compared):
        cells = []
        for column in columns:
            medians = [statistics.median(ratios_of(r)) for r in records if _column(r) == column]
            cells.append(_range(medians))
        rows.append((markdown(machine), *cells))
    if not rows:
        return "There are no measurements yet; run `transfer bench`.\n"
    head = ("machine", *(markdown(f"{task}, {against}") for task, against in columns))
    return markdown_table(head, rows)


def _column(record: Bench) -> tuple[str, str]:
    return record["work"]["task"], record["against"]


def _range(medians: Sequence[float]) -> str:
    """The smallest and the largest; empty if nothing was measured."""
    if not medians:
        return ""
    ends = dict.fromkeys(f"{end:.2f}" for end in (min(medians), max(medians)))
    return " … ".join(ends)
