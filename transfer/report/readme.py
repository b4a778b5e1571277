"""``results/README.md``, made from the records."""

from __future__ import annotations

from pathlib import Path

from backbones.common.atomic_write import write_atomically
from backbones.common.errors import UserError
from backbones.common.escape import markdown
from backbones.common.regular_file import read_text
from transfer.report import front, image_noise, paper_tables
from transfer.report.answer import answer, groups
from transfer.report.class_table import class_table
from transfer.report.collection import Collection, collect, settings
from transfer.report.foundations import foundations
from transfer.report.layout import to_markdown
from transfer.report.notes import NOTES, read_notes

_MAX_BYTES = 1 << 24
_MADE = "Made by `transfer table all --write`"

_FOOT = f"""{_MADE} from the records in `records/`; a test fails when it
is stale. Every figure of ours is computed from a record, every figure of the paper's is read from
`paper/table*.csv`. How a gain is judged is told in [docs/statistics.md](../docs/statistics.md);
`transfer report` makes a page of the same with pictures, [report.html](report.html).
"""


def text(results: Path) -> str:
    """The whole README of a folder of results: the answer, ours, then the paper's tables."""
    found = collect(results)
    parts = ["# Results\n"]
    parts += [f"{markdown(' '.join(answer(group)))}\n" for group in groups(found.gains)]
    if told := read_notes(results):
        parts.append(told)
    shown = [part for number in paper_tables.NUMBERS for part in _elsewhere(number, found)]
    if shown:
        parts += ["## Measured here\n", *shown]
    if found.gains:
        parts += ["## What the figures rest on\n", *_foundations(found)]
    parts.append("## Beside the paper\n")
    for number in paper_tables.NUMBERS:
        parts += [to_markdown(one) for one in paper_tables.beside_the_paper(number, found)]
    if found.left_out:
        parts.append(
            "## Left out\n\n" + "".join(f"- {markdown(line)}\n" for line in found.left_out)
        )
    return "\n".join([*parts, _FOOT]).rstrip() + "\n"


def _elsewhere(number: int, found: Collection) -> list[str]:
    """What was measured for one of the paper's tables on other images than the paper's."""
    return [to_markdown(one) for one in paper_tables.on_other_images(number, found)]


def _foundations(found: Collection) -> list[str]:
    """Of each setting: noise of the test set, class by class, machines, versions, hours."""
    parts = []
    for name, tables in settings(found):
        lines = [line for one in tables for line in image_noise.told(one)]
        by_class = [class_table(one, f"{name}-classes-{place}") for place, one in enumerate(tables)]
        parts.append(f"### {markdown(tables[0].setting.title)}: images, machines, hours\n")
        parts.append("".join(f"- {markdown(line)}\n" for line in [*lines, *foundations(tables)]))
        parts += [to_markdown(one) for one in by_class if one]
    return parts


def write(results: Path) -> list[Path]:
    """Write it, and the first screen of a README above the folder that has a place for it.

    Returns:
        What was written, each whole or not at all.

    Raises:
        UserError: A file cannot be read or written, or was not made by this command.
    """
    path = results / "README.md"
    if path.exists() and _MADE not in read_text(path, _MAX_BYTES):
        raise UserError(
            f"'{path}' was not made by this command and would be lost: move it away. What "
            f"'{NOTES}' beside it says is put into the README that is made."
        )
    write_atomically(path, text(results).encode())
    above = results.resolve().parent / "README.md"
    if not front.PART.is_in(above):
        return [path]
    front.PART.put(above, front.front(collect(results), f"{results.resolve().name}/pictures"))
    return [path, above]
