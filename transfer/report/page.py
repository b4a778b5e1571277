"""The page: the answer first, then tables and pictures, then how each number was made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.common.escape import html
from transfer.report import notes as own_notes
from transfer.report import paper_tables
from transfer.report.across_data import across_data, across_tables
from transfer.report.answer import groups
from transfer.report.class_table import class_table
from transfer.report.collection import Collection, settings
from transfer.report.cost_table import cost_table
from transfer.report.gain_layout import gain_table
from transfer.report.gains import GainTable
from transfer.report.how_made import bullets, folded, how_made
from transfer.report.image_noise import Noises
from transfer.report.layout import Table, to_html, under
from transfer.report.lead import lead
from transfer.report.pictures import style
from transfer.report.pictures.gallery import Picture, answer_picture, pictures, ranks_picture
from transfer.report.predictions import on_page
from transfer.report.predictions.on_page import ShownImage
from transfer.report.verdicts import verdict

_HERE = Path(__file__).resolve().parent
_TITLE = "Does a better classifier make a better detector and a better segmenter?"
_SCORES = {"detection": "F1 of the boxes", "segmentation": "Mean IoU of the classes"}
_LONG = 12  # lines of a table that are shown without a click
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"

Images = Mapping[str, Sequence[ShownImage]]
"""Test images with predictions, by the name of their setting."""


@dataclass(frozen=True)
class Pictures:
    """The pictures of a results folder.

    Attributes:
        answers: That of each answer, by the name of its group of tables.
        others: Those of each setting, and of each table over data sets, by its name.
    """

    answers: dict[str, Picture]
    others: dict[str, list[Picture]]

    @classmethod
    def of(cls, found: Collection) -> Pictures:
        """Draw all pictures of the results."""
        drawn = {name: answer_picture(group, name) for name, group in groups(found.gains).items()}
        others = {name: list(pictures(tables, name)) for name, tables in settings(found)}
        others |= {one.name: [ranks_picture(one)] for one in across_data(found.gains)}
        return cls({name: picture for name, picture in drawn.items() if picture}, others)

    def all(self) -> Iterator[Picture]:
        """Every picture."""
        yield from self.answers.values()
        for several in self.others.values():
            yield from several


def page(
    found: Collection,
    *,
    drawn: Pictures,
    noises: Noises,
    images: Images,
    notes: str,
    place: Path,
) -> str:
    """The whole page.

    Args:
        found: All results.
        drawn: Their pictures.
        noises: The noise of the test images of each table.
        images: Test images with predictions, by setting; empty if none may be shown.
        notes: The results folder's notes, as Markdown.
        place: The file of the page, which links to the records.
    """
    answers = {name: _figure(picture, "") for name, picture in drawn.answers.items()}
    first = lead(groups(found.gains), answers, noises)
    sections = [("measured", "Results", "".join(_measured(found, drawn, noises, images)))]
    if notes:
        sections.append(("notes", "Limits", own_notes.to_html(notes)))
    sections += [
        ("paper", "The paper's nine tables", "".join(_paper(found))),
        ("method", "How each number was made", "".join(how_made(settings(found), place))),
    ]
    if found.left_out:
        sections.append(("left-out", "Left out", bullets(found.left_out)))
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title, _ in sections)
    body = "".join(
        f'<section id="{name}"><h2>{title}</h2>{content}</section>\n'
        for name, title, content in sections
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{_TITLE}</title>\n<style>\n{_read('page.css')}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#verdict">Skip to the verdict</a>\n<header><h1>{_TITLE}</h1>'
        f'</header>\n<main>\n<div id="verdict">{first}</div>\n'
        f'<nav aria-label="Sections"><ul>{links}</ul>{_filter(found)}</nav>\n{body}</main>\n'
        f"<script>\n{_read('page.js')}</script>\n</body>\n</html>\n"
    )


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _filter(found: Collection) -> str:
    """Buttons that show one task only; page.css does the rest."""
    if len({table.setting.task for table in found.gains}) < 2:
        return ""
    choices = (("all", "both tasks"), ("detection", "detection"), ("segmentation", "segmentation"))
    buttons = "".join(
        f'<label><input type="radio" name="task" id="only-{name}"'
        f"{' checked' if name == 'all' else ''}>{words}</label>"
        for name, words in choices
    )
    return f'<fieldset class="filter"><legend>Show</legend>{buttons}</fieldset>'


def _measured(found: Collection, drawn: Pictures, noises: Noises, images: Images) -> Iterator[str]:
    for name, tables in settings(found):
        setting = tables[0].setting
        yield f'<div data-task="{html(setting.task)}">\n'
        yield f'<h3 id="{name}">{html(setting.title)}</h3>'
        for number, table in enumerate(tables, start=1):
            yield from _of_table(table, f"{name}-%s{number}", noises)
        yield _gallery(drawn.others[name])
        if several := images.get(name):
            figures = on_page.to_html(several, _SCORES[setting.task])
            yield f'<h4>Predictions beside the truth</h4><div class="shown">{figures}</div>'
        yield "</div>\n"
    for shown in across_tables(found.gains):
        yield to_html(shown) + _gallery(drawn.others[shown.name])


def _of_table(table: GainTable, name: str, noises: Noises) -> Iterator[str]:
    """The verdicts, the gains, and the costs of one table, and its figures class by class."""
    heading = table.setting.title
    words = verdict(table).removeprefix(f"{heading}: ")
    yield f'<p class="summary">{html(words[:1].upper() + words[1:])}</p>'
    gains = gain_table(table, name % "table", noises[table.setting, table.baseline])
    yield to_html(under(gains, heading), fold_notes=True)
    if by_class := class_table(table, name % "classes"):
        yield _folded_if_long(under(by_class, heading))
    yield to_html(under(cost_table(table, name % "cost"), heading))


def _folded_if_long(shown: Table) -> str:
    """A table; a long one opens with a click."""
    if len(shown.rows) <= _LONG:
        return to_html(shown)
    return folded(f"{html(shown.title)}: {len(shown.rows)} lines", to_html(shown))


def _gallery(several: Iterable[Picture]) -> str:
    figures = "".join(_figure(picture, picture.caption) for picture in several)
    return f'<div class="pictures">{figures}</div>' if figures else ""


def _figure(picture: Picture, caption: str) -> str:
    """A picture with its caption, if it has one on the page."""
    drawn = style.inline(picture.svg, picture.name, picture.caption)
    below = f"<figcaption>{html(caption)}</figcaption>" if caption else ""
    return f'<figure><div class="picture">{drawn}</div>{below}</figure>'


def _paper(found: Collection) -> Iterator[str]:
    for number in paper_tables.NUMBERS:
        shown = list(paper_tables.beside_the_paper(number, found))
        task = paper_tables.TRANSFER.get(number, "")
        content = folded(html(shown[0].title), "".join(map(to_html, shown)))
        yield f'<div data-task="{task}">{content}</div>'
