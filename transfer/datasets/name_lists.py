"""Text files with one name per line, as people write them."""

from __future__ import annotations

from pathlib import Path

from backbones.common.regular_file import UnfitFile, read_bytes

_MAX_BYTES = 1 << 25
"""Most bytes of a list: some two million names."""


def read_names(path: Path, errors: str = "strict") -> list[str]:
    """The names in a list, without the spaces around them.

    Empty lines, a byte order mark at the start and the line ends of any system are passed over.

    Args:
        path: The list.
        errors: What becomes of bytes that are not UTF-8, as ``bytes.decode`` takes it.

    Raises:
        UnfitFile: Missing, not a regular file, too long, or not text in UTF-8.
    """
    try:
        text = read_bytes(path, _MAX_BYTES).decode("utf-8-sig", errors)
    except FileNotFoundError as error:
        raise UnfitFile(path, "does not exist") from error
    except OSError as error:
        raise UnfitFile(path, f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UnfitFile(path, "is not text in UTF-8") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [name for line in lines if (name := line.strip())]
