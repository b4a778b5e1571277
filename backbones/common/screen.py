"""The console: prints names as plain text, never as markup."""

from __future__ import annotations

import os
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from backbones.common.escape import terminal

_WIDTH = 140  # without a terminal


class Screen(Console):
    """A console that prints brackets, colons and control characters literally.

    Args:
        options: As rich's ``Console``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, markup=False, emoji=False)

    def on_broken_pipe(self) -> None:
        """Stop printing when the reader has closed the pipe; rich would end the process."""
        self.quiet = True
        write_no_more()

    def render_str(self, text: str, **options: Any) -> Text:
        """Render any text, also in tables."""
        return super().render_str(terminal(text), **options)


def screen(quiet: bool = False) -> Screen:
    """The console for results; a quiet one prints nothing."""
    console = Screen(quiet=quiet)
    return console if console.is_terminal else Screen(width=_WIDTH, quiet=quiet)


def write_no_more() -> None:
    """Discard all further standard output, including what the interpreter flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
