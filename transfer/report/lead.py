"""The top of the page: each answer with its verdict in colour, its picture and its basis."""

from __future__ import annotations

import re

from backbones.common.escape import html
from transfer.report.answer import Group, TaskAnswer, answer
from transfer.report.foundations import in_one_line, rows_in_words
from transfer.report.image_noise import Noises

_NOTHING = (
    '<p class="dek">There are no fine-tunings yet, so there is no verdict. '
    "<code>transfer run --backbone resnet50d_tricks</code> runs the first.</p>"
)
_GAIN = re.compile(r"(?<![\w.+-])(?<!… )[+-]\d+\.\d\d(?![\d.])(?! …)")
"""A gain, but no end of an interval."""

_FIGURE = re.compile(r"top-1 [\d.]+ %|-?\d+\.\d\d … -?\d+\.\d\d|\d+\.\d\d %|ResNet-50|top-1|95 %")


def lead(groups: dict[str, Group], drawn: dict[str, str], noises: Noises) -> str:
    """The answers of a results folder.

    Args:
        groups: The groups of tables by name, the most important first.
        drawn: The picture of each group as HTML, by the group's name.
        noises: The noise of the test images of each table.
    """
    articles = (
        _article(name, group, drawn.get(name, ""), noises) for name, group in groups.items()
    )
    return "".join(articles) or _NOTHING


def _article(name: str, group: Group, picture: str, noises: Noises) -> str:
    found, setting = answer(group), group[0].setting
    lines = "".join(map(_line, found.tasks))
    controls = f'<p class="controls">{html(found.controls)}</p>' if found.controls else ""
    basis = in_one_line(group, noises)
    rows = rows_in_words(group)
    compared = f'<p class="basis"><b>Compared.</b> {_whole(rows)}</p>\n' if rows else ""
    kicker = f"On {setting.data}, protocol {setting.protocol}, against {group[0].baseline}"
    return (
        f'<article class="lead" id="{html(name)}">\n<div>\n<p class="kicker">{html(kicker)}</p>\n'
        f'<ul class="answers">{lines}</ul>\n{controls}</div>\n{picture}\n'
        f'<div><p class="basis"><b>Basis.</b> {_whole(basis)}</p>\n{compared}</div>\n</article>\n'
    )


def _line(one: TaskAnswer) -> str:
    """A sentence, with its verdict as a coloured label and its gain in the same colour."""
    kind = one.verdict if one.verdict in ("gain", "loss") else "unsure"
    finding = _GAIN.sub(rf'<b class="{kind}">\g<0></b>', _whole(one.finding))
    beside = f'; <span class="soft">{_whole(one.beside)}</span>' if one.beside else ""
    return (
        f'<li data-task="{html(one.table.setting.task)}">'
        f'<span class="task">{html(one.title)}</span> '
        f'<span class="chip {kind}">{html(one.verdict)}</span> {finding}{beside}.</li>'
    )


def _whole(text: str) -> str:
    """A text as HTML whose figures are not broken at the end of a line."""
    return _FIGURE.sub(r'<span class="whole">\g<0></span>', html(text))
