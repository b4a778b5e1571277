"""Atomic writing of files, with the permissions of the umask."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from backbones.common.errors import UserError

_PART = ".part"
_DAY = 24 * 3600.0
_swept: set[Path] = set()


def write_atomically(path: Path, content: bytes, option: str = "--results") -> None:
    """Write a file under a temporary name, flush it to disk, and rename it.

    Args:
        path: The file.
        content: Its content.
        option: The option that chooses another folder, for the error message.

    Raises:
        UserError: The folder cannot be written; no partial file remains.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with staged(path) as (file, part):
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.replace(part, path)
    except OSError as error:
        raise UserError(
            f"'{path}' could not be written ({error.strerror}); make room, or choose another "
            f"folder with {option}."
        ) from error


@contextlib.contextmanager
def staged(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Open a temporary file beside ``path``; it is removed unless the caller renames it.

    The file is locked while it is written. A killed process releases the lock, and the next process
    that writes in the folder removes the file.

    Yields:
        The open file and its path.

    Raises:
        OSError: The folder cannot be written.
    """
    if path.parent not in _swept:
        _swept.add(path.parent)
        sweep(path.parent)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_PART}")
    try:
        with part.open("xb") as file:
            with contextlib.suppress(OSError):  # a disk without locks
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield file, part
    finally:
        with contextlib.suppress(OSError):  # the disk may be unmounted
            part.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove partial files of killed processes from a folder."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name.startswith(".") and path.name.endswith(_PART):
                with contextlib.suppress(OSError):
                    if _is_abandoned(path):
                        path.unlink()


def _is_abandoned(part: Path) -> bool:
    """Whether no process writes a file: its lock is free, or it is old on a disk without locks."""
    with part.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return time.time() - part.stat().st_mtime > _DAY
    return True
