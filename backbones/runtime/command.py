"""How a command ends: its exit code, and one message for an error that the user can correct."""

from __future__ import annotations

import errno
import io
import sys
from collections.abc import Callable
from typing import TypeVar

from backbones.common.errors import UserError
from backbones.common.escape import one_line
from backbones.common.libraries import remedy
from backbones.common.screen import write_no_more
from backbones.common.terminal_text import LEGIBLE
from backbones.runtime import ranks, stopping

_Given = TypeVar("_Given")
_OF_PATHS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP)
"""Faults of a path that a user gave, or of its permissions; never a defect of this project."""


def guarded(command: Callable[[_Given], int], given: _Given) -> int:
    """Run a command; an error of the user's is one message and exit code 2.

    Returns:
        The command's exit code; 0 if its reader, such as head, has closed the pipe, 2 after an
        error message, 130 after a request to stop.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=LEGIBLE)
    try:
        code = command(given)
        print(end="", flush=True)
        return code
    except ranks.ReportedElsewhere as error:
        print(f"ended: {error}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, stopping.Interrupted):
        print("interrupted; run the same command again to resume", file=sys.stderr)
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
        if error.errno == errno.ENOSPC and error.filename is None:
            write_no_more()
            print("error: the output cannot be written because its disk is full", file=sys.stderr)
            return 2
        if error.errno not in _OF_PATHS or error.filename is None:
            raise
        print(
            f"error: '{one_line(str(error.filename))}' cannot be used ({error.strerror}): give "
            "another path, or permission to use it.",
            file=sys.stderr,
        )
        return 2


def _reader_is_gone() -> bool:
    """Whether the reader has closed the pipe, as head does; discards further output."""
    try:
        print(flush=True)
    except BrokenPipeError:
        write_no_more()
        return True
    return False
