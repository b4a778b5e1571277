"""The first screen of the project's README: the picture and the answer, from records."""

from __future__ import annotations

from backbones.common.escape import markdown
from transfer.report.answer import Group, answer, groups
from transfer.report.collection import Collection
from transfer.report.foundations import in_one_line
from transfer.report.image_noise import Noises
from transfer.report.made_part import MadePart
from transfer.report.pictures.answer_plot import is_drawn

PART = MadePart("results", "transfer table all --write")


def front(found: Collection, noises: Noises, pictures: str) -> str:
    """The text of the part: for each group of tables its picture, its answer and its basis.

    Args:
        found: All results.
        noises: The noise of the test images of each table.
        pictures: Folder of the pictures, relative to the README.
    """
    if not found.gains:
        return "There are no results on real data yet.\n"
    parts = []
    for name, group in groups(found.gains).items():
        if is_drawn(group):
            setting = group[0].setting
            title = (
                f"Gains over {group[0].baseline} on {setting.data}, protocol {setting.protocol}, "
                "with their intervals"
            )
            parts.append(f"![{markdown(title)}]({pictures}/{name}.svg)\n")
        parts.append(in_markdown(group, noises))
    return "\n".join(parts)


def in_markdown(group: Group, noises: Noises) -> str:
    """An answer and what it rests on, as two paragraphs."""
    found = answer(group)
    sentences = [
        f"**{markdown(f'{one.title}: {one.verdict}.')}** {markdown(one.sentence)}"
        for one in found.tasks
    ]
    if found.controls:
        sentences.append(markdown(found.controls))
    return f"{' '.join(sentences)}\n\n{markdown(f'Basis: {in_one_line(group, noises)}')}\n"
