"""Opens untrusted files: regular files only, up to a maximum size."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from backbones.common.errors import UserError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnfitFile(UserError):
    """A file that is refused.

    Args:
        path: The file.
        reason: What is wrong with it, as the rest of a sentence that starts with its path.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"'{path.absolute()}' {reason}; replace it or leave it out.")

    def __reduce__(self) -> tuple[type[UnfitFile], tuple[Path, str]]:
        return type(self), (self.path, self.reason)


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, without blocking.

    Opening a named pipe would wait for a writer; opening a device may have an effect.

    Raises:
        UnfitFile: It is a folder, a named pipe, a socket or a device, or a link to one.
        OSError: It cannot be opened.
    """
    try:
        _require_regular(path, os.stat(path))
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL byte, or characters that no file system can store
        raise UnfitFile(path, "is not a valid file name") from error
    file = os.fdopen(handle, "rb")
    try:
        _require_regular(path, os.fstat(handle))  # the file may have been replaced meanwhile
    except UnfitFile:
        file.close()
        raise
    return file


def read_bytes(path: Path, most: int) -> bytes:
    """The bytes of a regular file.

    Args:
        path: The file.
        most: Maximum size in bytes.

    Raises:
        UnfitFile: It is not a regular file, or too large.
        OSError: It cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(min(size, most) + 1)  # that much is allocated at once
    if len(content) > most:
        raise UnfitFile(path, f"has more than the {most:,} bytes that are allowed")
    return content


def read_text(path: Path, most: int) -> str:
    """The text of a regular file in UTF-8.

    Args:
        path: The file.
        most: Maximum size in bytes.

    Raises:
        UnfitFile: It is not a regular file, too large, or not UTF-8.
        OSError: It cannot be read.
    """
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnfitFile(path, "is not text in UTF-8") from error


def is_hidden(path: Path) -> bool:
    """Whether a name begins with a dot, like the files that file managers and editors leave.

    macOS writes a ``._NAME`` for each file on foreign disks, Jupyter ``.ipynb_checkpoints``.
    """
    return path.name.startswith(".")


def _require_regular(path: Path, status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise UnfitFile(path, f"is {_KINDS.get(kind, 'something else')}, not a regular file")
