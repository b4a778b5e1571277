"""How a command ends: its exit code, and one sentence for what its user can mend."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import TypeVar

from backbones.common.errors import UserError
from backbones.common.libraries import remedy
from backbones.common.terminal_text import LEGIBLE
from backbones.runtime import ranks, stopping

_Given = TypeVar("_Given")


def guarded(command: Callable[[_Given], int], given: _Given) -> int:
    """Run a command; what the user can mend is one sentence and exit code 2.

    Returns:
        What the command returns; 0 where its reader, such as head, has read enough, 2 for a
        sentence, 130 for a command that was asked to stop.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=LEGIBLE)
    try:
        code = command(given)
        print(end="", flush=True)
        return code
    except ranks.ToldElsewhere as error:
        print(f"ended: {error}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, stopping.Interrupted):
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    except (ImportError, RuntimeError) as error:
        if not (sentence := remedy(error)):
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        write_no_more()
        print("error: the output cannot be written; its disk is full", file=sys.stderr)
        return 2


def _reader_is_gone() -> bool:
    """Whether what the output is piped to has ended, such as head; then no more is written."""
    try:
        print(flush=True)
    except BrokenPipeError:
        write_no_more()
        return True
    return False


def write_no_more() -> None:
    """Let what is written from now on, at the interpreter's end too, go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
