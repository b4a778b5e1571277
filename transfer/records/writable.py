"""Checks that a run's outputs are writable before it computes anything."""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Iterable
from pathlib import Path

from backbones.common.errors import UserError


def require_writable(folders: Iterable[tuple[Path, str]], logs: Iterable[Path] = ()) -> None:
    """Check that folders are writable or can be created; nothing is left in them.

    Args:
        folders: Folders, each with the option that chooses another.
        logs: Files that are appended to, if they exist.

    Raises:
        UserError: One is not writable; the message names its owner.
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
        f"'{path.absolute()}' is not writable ({why}){_owner(path)}. Choose another folder with "
        f"{option}, or ask its owner for write permission."
    )


def _owner(path: Path) -> str:
    """The owner of a file, if it is another user."""
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
