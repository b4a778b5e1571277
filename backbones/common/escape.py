"""Escapes untrusted text (names of classes, files, data sets) for each output format.

There is one function per format. All of them replace control characters by their codes, because
files of every format may be printed on a terminal.
"""

from __future__ import annotations

import html as _html
import re

_TURNS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # change the direction of text
_CONTROL = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029{_TURNS}]")
_LINES = re.compile(r"[\t\n\r\v\f]+")


def terminal(text: str) -> str:
    """Text for a terminal or a log; of all control characters, only tabs and line ends are kept."""
    return _CONTROL.sub(lambda found: _code(found[0]), text)


def one_line(text: str) -> str:
    """Text as one line without control characters, for a name in a message or a table."""
    return terminal(_LINES.sub(" ", text))


def brief(text: object, most: int = 100) -> str:
    """The first line of a text, shortened, for the reason in a message."""
    lines = str(text).splitlines()
    line = one_line(lines[0]) if lines else type(text).__name__
    return line if len(line) <= most else f"{line[: most - 3]}..."


def html(text: str) -> str:
    """Text in HTML, in an attribute too."""
    return _html.escape(terminal(text))


_INLINE = re.compile(
    r"[\\`*|<$~]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # between two letters it is not emphasis
    r"|\](?=[(\[:])"  # of a link
    r"|&(?=#|\w+;)"
    r"|(?<=\w):(?=//)|(?<=www)\.|(?<=WWW)\.|(?<=\w)@(?=\w)"  # GitHub turns these into links
)
_BLOCK = re.compile(r">|(?:#+|[-+=]+)(?=\s|$)|\d+(?=[.)](?:\s|$))")


def markdown(text: str) -> str:
    """Text in Markdown: a cell of a table, an entry of a list, a heading or a paragraph."""
    line = _INLINE.sub(r"\\\g<0>", one_line(text).strip())
    if found := _BLOCK.match(line):
        at = found.end() if line[0].isdigit() else 0
        line = f"{line[:at]}\\{line[at:]}"
    return line


_FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20"
_END = r"(?:[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|above 0|below 0)"
_NUMBER = re.compile(rf"{_END}(?: … {_END})?(?: \({_END} … {_END}\))?(?: %)?")


def csv(text: str) -> str:
    """Text as a field of a CSV table that no spreadsheet reads as a formula.

    Numbers and intervals are unchanged. An apostrophe precedes any other text that a spreadsheet
    would compute.
    """
    line = one_line(text)
    start = line.lstrip()[:1]
    return f"'{line}" if start and start in _FORMULA and not _NUMBER.fullmatch(line) else line


_LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "–": "--",
    "…": r"\dots{}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
}


def latex(text: str) -> str:
    """Text in LaTeX, at the start of a table's row too."""
    line = "".join(_LATEX.get(sign, sign) for sign in re.sub("-(?=-)", "-\0", one_line(text)))
    line = line.replace("\0", "{}")
    return f"{{{line[0]}}}{line[1:]}" if line[:1] in ("[", "*") else line


def _code(sign: str) -> str:
    number = ord(sign)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
