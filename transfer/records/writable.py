"""Whether what a run leaves can be written, asked before it computes anything."""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Iterable
from pathlib import Path

from backbones.common.errors import UserError


def require_writable(folders: Iterable[tuple[Path, str]], logs: Iterable[Path] = ()) -> None:
    """See that folders can be written, or made; nothing is left in them.

    Args:
        folders: Each with the option that chooses another.
        logs: Files that are written on, where they are there.

    Raises:
        UserError: One cannot; the message says whose it is.
    """
    for folder, option in dict.fromkeys(folders):
        near = next(one for one in (folder, *folder.absolute().parents) if os.path.lexists(one))
        try:
            with tempfile.TemporaryFile(dir=near):
                pass
        except OSError as error:
            raise _refusal(near, error.strerror or str(error), option) from error
    for log in logs:
        if log.exists() and not os.access(log, os.W_OK):
            raise _refusal(log, "Permission denied", "--work-dir")


def _refusal(path: Path, why: str, option: str) -> UserError:
    return UserError(
        f"'{path.absolute()}' cannot be written ({why}){_owner(path)}. Choose another folder with "
        f"{option}, or have its owner allow you to write there."
    )


def _owner(path: Path) -> str:
    """Whose a file is, where it is another's."""
    try:
        number = path.stat().st_uid
    except OSError:
        return ""
    if number == os.geteuid():
        return ""
    try:
        return f": it belongs to user '{pwd.getpwuid(number).pw_name}'"
    except KeyError:
        return f": it belongs to user number {number}"
