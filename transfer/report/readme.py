"""``results/README.md``, made from the records."""

from __future__ import annotations

from pathlib import Path

from backbones.atomic_write import write_atomically
from backbones.errors import UserError
from transfer.report import front, image_noise, paper_tables
from transfer.report.answer import answer, groups
from transfer.report.class_table import class_table
from transfer.report.collection import collect
from transfer.report.layout import to_markdown

NOTES = "notes.md"

_HEAD = """# Results

Made by `transfer table all --write` from the records in `records/`; a test fails when it is stale.
Every figure of ours is computed from a record, every figure of the paper's is read from
`paper/table*.csv`. How a gain is judged is told in [docs/statistics.md](../docs/statistics.md).
"""


def text(results: Path) -> str:
    """The whole README of a folder of results."""
    found = collect(results)
    parts = [_HEAD]
    parts += [f"{' '.join(answer(group))}\n" for group in groups(found.gains)]
    parts += _notes(results)
    for number in paper_tables.NUMBERS:
        parts += [to_markdown(shown) for shown in paper_tables.paper_table(number, found)]
    noise = [(table, image_noise.told(table)) for table in found.gains]
    if any(lines for _, lines in noise):
        parts.append("## Noise of the test sets\n")
        parts += [f"- {t.setting.title}. {line}" for t, lines in noise for line in lines]
    by_class = [class_table(t, f"classes{place + 1}") for place, t in enumerate(found.gains)]
    if any(by_class):
        parts.append("\n## Class by class\n")
        parts += [to_markdown(shown) for shown in by_class if shown]
    if found.left_out:
        parts.append("\n## Left out\n\n" + "".join(f"- {line}\n" for line in found.left_out))
    return "\n".join(parts).rstrip() + "\n"


def _notes(results: Path) -> list[str]:
    """What people have to say of these results: ``notes.md`` of the folder, if it is there."""
    try:
        return [(results / NOTES).read_text(encoding="utf-8")]
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"'{results / NOTES}' cannot be read ({error}); mend it.") from error


def write(results: Path) -> list[Path]:
    """Write it, and the first screen of a README above the folder that has a place for it.

    Returns:
        What was written, each whole or not at all.

    Raises:
        UserError: A file cannot be read or written.
    """
    path = results / "README.md"
    write_atomically(path, text(results).encode())
    above = results.resolve().parent / "README.md"
    if not front.PART.is_in(above):
        return [path]
    front.PART.put(above, front.front(collect(results), f"{results.resolve().name}/pictures"))
    return [path, above]
