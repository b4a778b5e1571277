"""``transfer report``: all results on one self-contained HTML page."""

from __future__ import annotations

import argparse
import webbrowser
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from backbones.common import escape
from backbones.common.arguments import require_folder
from backbones.common.atomic_write import write_atomically
from backbones.common.errors import UserError
from transfer.report import collection, notes, paper_tables
from transfer.report.across_data import across_data, across_tables
from transfer.report.answer import answer, groups
from transfer.report.class_table import class_table
from transfer.report.collection import Collection, settings
from transfer.report.foundations import commands, foundations, rests_on
from transfer.report.gain_layout import gain_table
from transfer.report.gains import keep_look
from transfer.report.layout import Table, to_html
from transfer.report.pictures import style
from transfer.report.pictures.gallery import Picture, pictures, ranks_picture
from transfer.report.verdicts import verdict

_HERE = Path(__file__).resolve().parent
_TITLE = "Does a better classifier make a better detector and a better segmenter?"
_LONG = 32  # lines of a table that are shown without a click
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_METHOD = """
<dl>
<dt>Figure of a row</dt><dd>Mean over its fine-tunings, always at the last epoch, never the best;
if a row has several classifiers, fine-tunings are first averaged within each. The interval is a
95&nbsp;% t interval.</dd>
<dt>Gain and verdict</dt><dd>Dunnett's comparison of all rows of a table with their common baseline,
within blocks where rows share their seeds, with limits to the harm of one noisy row. The intervals
hold simultaneously at 95&nbsp;% over the rows of a table, not over several tables or tasks: a gain
lies above zero, a loss below, and an inconclusive difference includes zero. Controls are compared
alone.</dd>
<dt>"Inconclusive"</dt><dd>Not "no difference": the note below the table gives the smallest gain
that would have been found with 80&nbsp;% power.</dd>
<dt>One fine-tuning</dt><dd>Gives no interval and no verdict.</dd>
<dt>Noise of the test images</dt><dd>From halves of the test images, the same for both rows, and
per-image results beside each record. Below each table is one interval over classifiers, seeds and
test images together.</dd>
<dt>The paper's gain</dt><dd>A difference of two single runs. It is compared with ours only on the
paper's own data and protocol.</dd>
<dt>Correlation</dt><dd>One point for each row; percentile bootstrap over rows; omitted below
five rows.</dd>
</dl>
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    collection.add_arguments(parser)
    add = parser.add_argument
    add("--open", action="store_true", help="open the page in a browser")
    add("--out", type=Path, help="output file (default: report.html in the results folder)")
    add(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="folder for the pictures as SVG and PNG (default: SVG only, in pictures/ of the "
        "results folder; none with --out or --against)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the page.

    Raises:
        UserError: The baseline is unknown, a file is not writable, or no browser can be opened.
    """
    require_folder(args.results)
    home = args.results / "sample" if args.sample else args.results
    own_notes, unreadable = notes.read_notes(home)
    found = collection.asked(args)
    found = replace(found, left_out=(*found.left_out, *unreadable))
    drawn = {name: list(pictures(tables, name)) for name, tables in settings(found)}
    drawn |= {one.name: [ranks_picture(one)] for one in across_data(found.gains)}
    out = args.out or home / "report.html"
    write_atomically(
        out,
        page(found, drawn, own_notes).encode(),
        "--out" if args.out else "--results",
    )
    for table in found.gains:
        keep_look(table)
    print(out)
    if args.pictures or not (
        args.out or args.against
    ):  # the README shows the pictures of the results folder
        for picture in (one for several in drawn.values() for one in several):
            for path in _save(picture, args.pictures, home):
                print(path)
    if args.open and not webbrowser.open(out.resolve().as_uri()):
        raise UserError(
            f"No browser can be opened here; copy the page '{out.resolve()}' to a machine "
            "with a browser: it needs no other file."
        )
    return 0


def _save(picture: Picture, folder: Path | None, home: Path) -> Iterator[Path]:
    """Write SVGs to the results folder; write PNGs too if a folder was requested."""
    stem = (folder or home / "pictures") / picture.name
    option = "--pictures" if folder else "--results"
    yield style.save(stem, ".svg", picture.svg, option)
    if folder:
        yield style.save(stem, ".png", style.png(picture.figure), option)


def page(found: Collection, drawn: dict[str, list[Picture]], own_notes: str) -> str:
    """The whole page.

    Args:
        found: All results.
        drawn: The pictures of each setting, and of each table over data sets.
        own_notes: The results folder's notes, as Markdown.
    """
    sections = [
        ("verdict", "In short", _answer(found) + _verdict(found)),
        ("measured", "Results", "".join(_measured(found, drawn))),
        ("paper", "The paper's nine tables", "".join(_paper(found))),
        ("method", "How each number is computed", _METHOD + "".join(_foundations(found))),
        ("again", "Reproduce it", "".join(_commands(found))),
    ]
    if found.left_out:
        sections.append(("left-out", "Left out", _list(found.left_out)))
    if own_notes:
        sections.insert(1, ("notes", "Notes", notes.to_html(own_notes)))
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
        f'</header>\n<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>\n{body}</main>\n'
        f"<script>\n{_read('page.js')}</script>\n</body>\n</html>\n"
    )


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _answer(found: Collection) -> str:
    answers = (" ".join(answer(group)) for group in groups(found.gains))
    return "".join(f"<p>{escape.html(text)}</p>" for text in answers)


def _verdict(found: Collection) -> str:
    if not found.gains:
        return (
            '<div class="verdict"><p>There are no fine-tunings yet, so there is no verdict. '
            "<code>transfer run --backbone resnet50d_tricks</code> runs the first.</p></div>"
        )
    return f'<div class="verdict">{_list(verdict(table) for table in found.gains)}</div>'


def _measured(found: Collection, drawn: dict[str, list[Picture]]) -> Iterator[str]:
    for name, tables in settings(found):
        yield f'<h3 id="{name}">{escape.html(tables[0].setting.title)}</h3>'
        for place, table in enumerate(tables):
            yield _table(gain_table(table, f"{name}-table{place + 1}", image_noise=True))
            by_class = class_table(table, f"{name}-classes{place + 1}")
            yield _folded(by_class) if by_class else ""
        yield _gallery(drawn[name])
    for shown in across_tables(found.gains):
        yield _table(shown) + _gallery(drawn[shown.name])


def _gallery(several: Iterable[Picture]) -> str:
    figures = "".join(_picture(picture) for picture in several)
    return f'<div class="pictures">{figures}</div>' if figures else ""


def _folded(shown: Table) -> str:
    """A table; a long one opens with a click."""
    if len(shown.rows) <= _LONG:
        return _table(shown)
    summary = f"{escape.html(shown.title)}: {len(shown.rows)} lines"
    return f"<details><summary>{summary}</summary>{_table(shown)}</details>"


def _picture(picture: Picture) -> str:
    drawn = style.inline(picture.svg, picture.name, picture.caption)
    return (
        f'<figure><div class="picture">{drawn}</div>'
        f"<figcaption>{escape.html(picture.caption)}</figcaption></figure>"
    )


def _paper(found: Collection) -> Iterator[str]:
    for number in paper_tables.NUMBERS:
        for shown in paper_tables.beside_the_paper(number, found):
            yield _table(shown)


def _table(shown: Table) -> str:
    text = to_html(shown)
    for kind in ("gain", "loss"):
        text = text.replace(f"<td>{kind}</td>", f'<td class="{kind}">{kind}</td>')
    return text


def _foundations(found: Collection) -> Iterator[str]:
    for name, tables in settings(found):
        yield f"<h3>{escape.html(tables[0].setting.title)}</h3>"
        yield _list(foundations(tables))
        for place, table in enumerate(tables):
            yield _table(rests_on(table, f"{name}-rests{place + 1}"))


def _commands(found: Collection) -> Iterator[str]:
    yield (
        "<p>This page: <code>transfer report</code>. The tables: <code>transfer table all</code>. "
        "Each command skips fine-tunings that have a record, so it resumes where it "
        "stopped.</p>"
    )
    for _, tables in settings(found):
        lines = commands(tables)
        yield (
            f"<details><summary>{escape.html(tables[0].setting.title)}: {len(lines)} "
            f"commands</summary><pre>{escape.html(chr(10).join(lines))}</pre></details>"
        )


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape.html(line)}</li>" for line in lines) + "</ul>"
