"""A table before it has a format, and the available formats."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from backbones.common import escape


@dataclass(frozen=True)
class Missing:
    """A cell without a figure: the reason, and the command that fills it."""

    reason: str


@dataclass(frozen=True)
class Link:
    """A cell that leads to a file on the page; plain text in other formats."""

    text: str
    address: str


Cell = str | Missing | Link


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of texts; figures are already rounded text.

    Attributes:
        name: Short and without blanks, such as ``table8``.
        title: For people.
        columns: Headings of the columns.
        rows: One cell for each column; an empty cell is ``– [a]``, and a note explains ``[a]``.
        notes: Sentences below the table.
        cells: The rows before their empty cells are marked.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    cells: tuple[tuple[Cell, ...], ...] = ()


_MOST_COLUMNS = 8  # that a narrow window shows side by side


def table(
    name: str,
    *,
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    notes: Iterable[str] = (),
) -> Table:
    """A table whose empty cells refer to their reasons, each given once below it."""
    marks: dict[str, str] = {}
    cells = tuple(tuple(row) for row in rows)
    filled = tuple(tuple(_text(cell, marks) for cell in row) for row in cells)
    reasons = (f"[{mark}] {reason}" for reason, mark in marks.items())
    return Table(
        name=name,
        title=title,
        columns=tuple(columns),
        rows=filled,
        notes=(*reasons, *notes),
        cells=cells,
    )


def _text(cell: Cell, marks: dict[str, str]) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Link):
        return cell.text
    return f"– [{marks.setdefault(cell.reason, _letter(len(marks)))}]"


def _letter(number: int) -> str:
    """A, b, … z, aa, ab, … in small letters."""
    before = _letter(number // 26 - 1) if number >= 26 else ""
    return before + "abcdefghijklmnopqrstuvwxyz"[number % 26]


def to_markdown(shown: Table) -> str:
    """A heading, the table, and its notes as a list."""
    lines = [
        f"### {escape.markdown(shown.title)}",
        "",
        _markdown_row(shown.columns),
        f"| {' | '.join(['---', *['---:'] * (len(shown.columns) - 1)])} |",
        *(_markdown_row(row) for row in shown.rows),
    ]
    if shown.notes:
        lines += ["", *(f"- {escape.markdown(note)}" for note in shown.notes)]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escape.markdown, cells))} |"


_CSV = ("table", "title", "line", "row", "column", "value", "low", "high", "text", "missing")


def to_csv(several: Iterable[Table]) -> str:
    """Tables as plain data: one line for each cell, so that all tables have the same columns.

    A number is in ``value``, the ends of an interval in ``low`` and ``high``, a figure ``a ± b``
    in ``value`` and ``text``, other words in ``text``, and the reason for an empty cell in
    ``missing``.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV, restval="", lineterminator="\n")
    writer.writeheader()
    for shown in several:
        for line, (written, cells) in enumerate(zip(shown.rows, shown.cells, strict=True), 1):
            place = {"table": shown.name, "title": shown.title, "line": line, "row": written[0]}
            for column, cell in zip(shown.columns, cells, strict=True):
                fields = {**place, "column": column, **_plain(cell)}
                writer.writerow(
                    {k: escape.csv(v) if isinstance(v, str) else v for k, v in fields.items()}
                )
    return text.getvalue()


def _plain(cell: Cell) -> dict[str, str | float]:
    """A cell's parts, by their columns."""
    if isinstance(cell, Missing):
        return {"missing": cell.reason}
    if isinstance(cell, Link):
        return {"text": cell.text}
    ends = [_number(part) for part in cell.split(" … ")]
    if len(ends) == 1 and ends[0] is not None:
        return {"value": ends[0]}
    if len(ends) == 2 and ends[0] is not None and ends[1] is not None:
        return {"low": ends[0], "high": ends[1]}
    centre = _number(cell.partition(" ± ")[0])
    return {"text": cell} if centre is None else {"value": centre, "text": cell}


def _number(words: str) -> float | None:
    try:
        return float(words.replace(",", "").replace("−", "-"))
    except ValueError:
        return None


def to_latex(shown: Table) -> str:
    """A ``table`` environment that needs no extra package."""
    body = [_latex_row(shown.columns) + r" \hline", *(_latex_row(row) for row in shown.rows)]
    notes = [rf"\\ {{\footnotesize {escape.latex(note)}}}" for note in shown.notes]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{escape.latex(shown.title)}}}",
            rf"\label{{tab:{re.sub('[^A-Za-z0-9.:-]', '-', shown.name)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(shown.columns) - 1)}}}",
            *body,
            r"\end{tabular}",
            *notes,
            r"\end{table}",
            "",
        ]
    )


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(escape.latex(cell) for cell in cells) + r" \\"


def to_html(shown: Table, *, fold_notes: bool = False) -> str:
    """A ``figure`` with the table and its notes; rows and columns are marked for screen readers.

    Each cell knows its column's heading, so that a narrow window can show rows as cards.

    Args:
        shown: The table.
        fold_notes: Whether a click opens the notes.
    """
    heads = "".join(f'<th scope="col">{escape.html(column)}</th>' for column in shown.columns)
    body = "\n".join(
        _html_row(shown.columns, row, cells)
        for row, cells in zip(shown.rows, shown.cells or shown.rows, strict=True)
    )
    title = escape.html(shown.title)
    return (
        f'<figure id="{escape.html(shown.name)}" class="table">\n'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">\n'
        f"<table{_shape(shown)}>\n<caption><span>{title}</span></caption>\n"
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>\n"
        f"{_html_notes(shown.notes, fold_notes)}</figure>\n"
    )


def under(shown: Table, heading: str) -> Table:
    """A table whose title does not repeat the heading above it."""
    rest = shown.title.removeprefix(heading).lstrip(",: ")
    return replace(shown, title=rest[:1].upper() + rest[1:]) if rest else shown


def _shape(shown: Table) -> str:
    """The class of a table with so many columns that a narrow window shows its rows as cards."""
    return ' class="wide"' if len(shown.columns) > _MOST_COLUMNS else ""


def _html_notes(notes: Sequence[str], fold: bool) -> str:
    if not notes:
        return ""
    items = f"<ul>{''.join(f'<li>{escape.html(note)}</li>' for note in notes)}</ul>"
    if not fold:
        return f"<figcaption>{items}</figcaption>\n"
    summary = f"How these figures were made: {len(notes)} note{'s'[: len(notes) > 1]}"
    return f"<figcaption><details><summary>{summary}</summary>{items}</details></figcaption>\n"


def _html_row(columns: Sequence[str], row: Sequence[str], cells: Sequence[Cell]) -> str:
    places = zip(columns, row, cells, strict=True)
    first, *rest = ((column, _html_cell(text, cell)) for column, text, cell in places)
    tail = "".join(
        f'<td data-column="{escape.html(column)}"{_colour(column, content)}>{content}</td>'
        for column, content in rest
    )
    return f'<tr><th scope="row">{first[1]}</th>{tail}</tr>'


def _html_cell(text: str, cell: Cell) -> str:
    if not isinstance(cell, Link):
        return escape.html(text)
    return f'<a href="{escape.html(cell.address)}">{escape.html(text)}</a>'


def _colour(column: str, content: str) -> str:
    """The class of a verdict's cell."""
    return f' class="{content}"' if column == "verdict" and content in ("gain", "loss") else ""


FORMATS: dict[str, Callable[[Table], str]] = {
    "md": to_markdown,
    "latex": to_latex,
    "html": to_html,
}
"""The formats of single tables; :func:`to_csv` joins several tables."""
