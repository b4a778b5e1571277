"""A results folder's own remarks, ``notes.md``, as text and as HTML."""

from __future__ import annotations

from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from backbones.common.errors import UserError
from backbones.common.regular_file import read_text

NOTES = "notes.md"
_MAX_BYTES = 1 << 20


def read_notes(results: Path) -> tuple[str, tuple[str, ...]]:
    """The file's Markdown, empty if it does not exist, and a sentence if it cannot be read."""
    try:
        return read_text(results / NOTES, _MAX_BYTES), ()
    except FileNotFoundError:
        return "", ()
    except UserError as error:
        return "", (str(error),)
    except OSError as error:
        return "", (f"'{(results / NOTES).absolute()}' cannot be read ({error.strerror}).",)


def to_html(notes: str) -> str:
    """Markdown as HTML for use below a second-level heading.

    HTML in it is shown as text. Of links and pictures only the words are kept, because the page
    must work without other files.
    """
    parser = MarkdownIt("commonmark", {"html": False})
    tokens = parser.parse(notes)
    for token in tokens:
        if token.type.startswith("heading"):
            token.tag = f"h{min(int(token.tag[1]) + 1, 6)}"
        if token.children:
            token.children = [_without_place(t) for t in token.children if "link" not in t.type]
    return str(parser.renderer.render(tokens, parser.options, {}))


def _without_place(token: Token) -> Token:
    """A picture's words in place of the picture."""
    return Token("text", "", 0, content=token.content) if token.type == "image" else token
