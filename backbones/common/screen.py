"""The terminal: what is printed there is text, whatever names are in it."""

from __future__ import annotations

import os
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from backbones.common.escape import terminal

_WIDTH = 140  # where there is no terminal to ask


class Screen(Console):
    """A console that prints brackets, colons and control characters of names as they are written.

    Args:
        options: As rich's ``Console``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Print nothing more when the reader has left, as head does; rich would end the process."""
        self.quiet = True
        write_no_more()

    def render_str(self, text: str, **options: Any) -> Text:
        """Every text that is printed, in a table too."""
        return super().render_str(terminal(text), **options)


def screen(quiet: bool = False) -> Screen:
    """The console that results are printed on; a quiet one prints nothing."""
    console = Screen(quiet=quiet)
    return console if console.is_terminal else Screen(width=_WIDTH, quiet=quiet)


def write_no_more() -> None:
    """Discard what is written to standard output from now on, at the interpreter's end too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
