"""``results/README.md``, made from the records."""

from __future__ import annotations

from pathlib import Path

from backbones.common.atomic_write import write_atomically
from backbones.common.errors import UserError
from backbones.common.escape import markdown
from backbones.common.regular_file import read_text
from transfer.report import front, paper_tables
from transfer.report.answer import groups
from transfer.report.class_table import class_table
from transfer.report.collection import Collection, collect, settings
from transfer.report.foundations import foundations
from transfer.report.image_noise import Noises, noise_sentences, noises_of
from transfer.report.layout import to_markdown
from transfer.report.notes import NOTES, read_notes

_MAX_BYTES = 1 << 24
_MADE = "Made by `transfer table all --write`"

_FOOT = f"""{_MADE} from the records in `records/`; a test fails when it
is out of date. Our figures are computed from records; the paper's figures are read from
`paper/table*.csv`. [docs/statistics.md](../docs/statistics.md) explains how a gain is judged;
`transfer report` writes the same as a page with pictures, [report.html](report.html).
"""


def text(results: Path) -> str:
    """The README of a results folder: the answer, our tables, then the paper's."""
    found = collect(results)
    return _text(results, found, noises_of(found.gains))


def _text(results: Path, found: Collection, noises: Noises) -> str:
    parts = ["# Results\n"]
    parts += [front.in_markdown(group, noises) for group in groups(found.gains).values()]
    own_notes, unreadable = read_notes(results)
    if own_notes:
        parts.append(own_notes)
    shown = [part for number in paper_tables.NUMBERS for part in _elsewhere(number, found)]
    if shown:
        parts += ["## Results of this project\n", *shown]
    if found.gains:
        parts += ["## Basis of the figures\n", *_foundations(found, noises)]
    parts.append("## Beside the paper\n")
    for number in paper_tables.NUMBERS:
        parts += [to_markdown(one) for one in paper_tables.beside_the_paper(number, found)]
    if left_out := (*found.left_out, *unreadable):
        parts.append("## Left out\n\n" + "".join(f"- {markdown(line)}\n" for line in left_out))
    return "\n".join([*parts, _FOOT]).rstrip() + "\n"


def _elsewhere(number: int, found: Collection) -> list[str]:
    """Results for one of the paper's tables on other images than the paper's."""
    return [to_markdown(one) for one in paper_tables.on_other_images(number, found)]


def _foundations(found: Collection, noises: Noises) -> list[str]:
    """For each setting: noise of the test set, classes, machines, versions, hours."""
    parts = []
    for name, tables in settings(found):
        lines = [
            line
            for one in tables
            for line in noise_sentences(one, noises[one.setting, one.baseline])
        ]
        by_class = [class_table(one, f"{name}-classes-{place}") for place, one in enumerate(tables)]
        parts.append(f"### {markdown(tables[0].setting.title)}: images, machines, hours\n")
        parts.append("".join(f"- {markdown(line)}\n" for line in [*lines, *foundations(tables)]))
        parts += [to_markdown(one) for one in by_class if one]
    return parts


def write(results: Path) -> list[Path]:
    """Write the README, and the marked part of a README above the folder.

    Returns:
        The written files, each complete.

    Raises:
        UserError: A file cannot be read or written, or comes from elsewhere.
    """
    path = results / "README.md"
    if path.exists() and _MADE not in read_text(path, _MAX_BYTES):
        raise UserError(
            f"'{path}' was not written by this command and would be lost: move it away. Text "
            f"in '{NOTES}' beside it is copied into the new README."
        )
    found = collect(results)
    noises = noises_of(found.gains)
    write_atomically(path, _text(results, found, noises).encode())
    above = results.resolve().parent / "README.md"
    if not front.PART.is_in(above):
        return [path]
    front.PART.put(above, front.front(found, noises, f"{results.resolve().name}/pictures"))
    return [path, above]
