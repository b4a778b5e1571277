"""How large a zip archive's directory is, before :mod:`zipfile` makes an object of each entry."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")


def directory_bytes(file: BinaryIO) -> int:
    """Bytes of an archive's directory; each entry has 46 and its name.

    Only archives whose last 22 bytes are the end record are taken, that is without a comment:
    there, what is read here is what :mod:`zipfile` will read.

    Raises:
        ValueError: It is no such archive.
        OSError: It cannot be read.
    """
    size = file.seek(0, os.SEEK_END)
    most = _END.size + _LOCATOR.size + _END_64.size
    file.seek(-min(size, most), os.SEEK_END)
    tail = file.read(most)
    file.seek(0)
    if len(tail) < _END.size:
        raise ValueError("it is cut short")
    signature, *_, length, _, comment = _END.unpack(tail[-_END.size :])
    if signature != b"PK\x05\x06" or comment:
        raise ValueError("its last 22 bytes are not the end of an archive")
    if len(tail) == most and tail[_END_64.size :].startswith(b"PK\x06\x07"):
        if not tail.startswith(b"PK\x06\x06"):
            raise ValueError("it has no end record of an archive of over 4 GiB")
        length = _END_64.unpack(tail[: _END_64.size])[8]
    if length > size:
        raise ValueError("its directory is longer than the file")
    return int(length)
