"""Text files with one name per line, as people write them."""

from __future__ import annotations

from pathlib import Path

from backbones.common.regular_file import UnfitFile, read_bytes
from backbones.common.text_encoding import decoded

_MAX_BYTES = 1 << 25
_MOST_NAMES = 1 << 21


def read_names(path: Path, errors: str = "strict") -> list[str]:
    """The names in a list, without the spaces around them.

    Empty lines, a byte order mark at the start and the line ends of any system are passed over.
    UTF-16 is read where a mark says so.

    Args:
        path: The list.
        errors: What becomes of bytes that are not UTF-8, as ``bytes.decode`` takes it.

    Raises:
        UnfitFile: Missing, not a regular file, too long, or not text in Unicode.
    """
    try:
        content = read_bytes(path, _MAX_BYTES)
        text = decoded(content) if errors == "strict" else content.decode("utf-8-sig", errors)
    except FileNotFoundError as error:
        raise UnfitFile(path, "does not exist") from error
    except OSError as error:
        raise UnfitFile(path, f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UnfitFile(path, str(error)) from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    names = [name for line in lines if (name := line.strip())]
    if len(names) > _MOST_NAMES:
        raise UnfitFile(path, f"has more than the {_MOST_NAMES:,} names that are allowed")
    return names
