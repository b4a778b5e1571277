"""The size of a zip archive's directory, found before :mod:`zipfile` reads the entries."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")


def directory_bytes(file: BinaryIO) -> int:
    """Bytes of an archive's directory; each entry takes 46 plus its name.

    Only archives without a comment are accepted. Their last 22 bytes are the end record, so this
    function and :mod:`zipfile` read the same record.

    Raises:
        ValueError: It is not such an archive.
        OSError: It cannot be read.
    """
    size = file.seek(0, os.SEEK_END)
    most = _END.size + _LOCATOR.size + _END_64.size
    file.seek(-min(size, most), os.SEEK_END)
    tail = file.read(most)
    file.seek(0)
    if len(tail) < _END.size:
        raise ValueError("it is truncated")
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
