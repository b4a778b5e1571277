"""Lists of names as people write them: a text file with one name a line."""

from __future__ import annotations

from pathlib import Path

from transfer.datasets.readers import BadFile, read_file

_MAX_BYTES = 1 << 28


def read_names(path: Path, errors: str = "strict") -> list[str]:
    """The names in a list, without the spaces around them.

    Empty lines, a byte order mark at the start and the line ends of any system are passed over.

    Args:
        path: The list.
        errors: What becomes of bytes that are not UTF-8, as ``bytes.decode`` takes it.

    Raises:
        BadFile: Missing, no plain file, too long, or not text in UTF-8.
    """
    content = read_file(path, _MAX_BYTES, may_be_empty=True)
    try:
        text = content.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise BadFile(path, "is not text in UTF-8") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [name for line in lines if (name := line.strip())]
