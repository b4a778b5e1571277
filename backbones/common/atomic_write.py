"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from backbones.common.errors import UserError


def write_atomically(path: Path, content: bytes, option: str = "--results") -> None:
    """Write a file beside its place, and move it there once it is on the disk.

    Args:
        path: Its place.
        content: All of it.
        option: What another folder is chosen with, for the sentence.

    Raises:
        UserError: The folder cannot be written; nothing is left half-written.
    """
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            part = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o644)
        os.replace(part, path)
    except OSError as error:
        if part:
            with contextlib.suppress(OSError):  # the disk may be away for this too
                part.unlink(missing_ok=True)
        raise UserError(
            f"'{path}' could not be written ({error.strerror}); make room, or choose another "
            f"folder with {option}."
        ) from error
