"""``results/README.md``, made from the records."""

from __future__ import annotations

from pathlib import Path

from backbones.atomic_write import write_atomically
from transfer.report import image_noise, paper_tables
from transfer.report.collection import collect
from transfer.report.layout import to_markdown

_HEAD = """# Results

Made by `transfer table all --write` from the records in `records/`; a test fails when it is stale.
Every figure of ours is computed from a record, every figure of the paper's is read from
`paper/table*.csv`. How a gain is judged is told in [docs/statistics.md](../docs/statistics.md).
"""


def text(results: Path) -> str:
    """The whole README of a folder of results."""
    found = collect(results)
    parts = [_HEAD]
    for number in paper_tables.NUMBERS:
        parts += [to_markdown(shown) for shown in paper_tables.paper_table(number, found)]
    noise = [(table, image_noise.told(table)) for table in found.gains]
    if any(lines for _, lines in noise):
        parts.append("## Noise of the test sets\n")
        parts += [f"- {t.setting.title}. {line}" for t, lines in noise for line in lines]
    if found.left_out:
        parts.append("\n## Left out\n\n" + "".join(f"- {line}\n" for line in found.left_out))
    return "\n".join(parts).rstrip() + "\n"


def write(results: Path) -> Path:
    """Write it, whole or not at all; returns its path.

    Raises:
        UserError: The folder cannot be written.
    """
    path = results / "README.md"
    write_atomically(path, text(results).encode())
    return path
