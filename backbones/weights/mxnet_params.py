"""Reads MXNet's NDArray files (``.params``), the format of GluonCV's published weights.

The layout, little-endian throughout (Apache MXNet, ``src/ndarray/ndarray.cc``)::

    file     u64 0x112, u64 0, u64 n, n arrays, u64 n, n names
    name     u64 length, that many bytes of UTF-8
    array    V2, V3   u32 magic, i32 storage type, shape, context, i32 type, values
             V1       u32 magic, shape, context, i32 type, values
             legacy   u32 dimensions, u32 each, context, i32 type, values
    shape    i32 dimensions, i64 each
    context  i32 kind of device, i32 its number

Files are untrusted. Every length is compared with the remaining bytes before memory is allocated,
and memory grows only with bytes that were read. For any bytes, the result is a dictionary of arrays
or a :class:`~backbones.common.errors.UserError`.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from backbones.common.errors import UserError
from backbones.common.escape import brief
from backbones.common.regular_file import open_regular
from backbones.common.zip_directory import directory_bytes

MAX_UNPACKED_BYTES = 2 << 30
"""Maximum unpacked bytes of a zipped file; the largest classifier of GluonCV has 0.6 GB."""

MAX_UNPACKED_RATIO = 100
"""Maximum ratio of unpacked to packed bytes; trained weights hardly compress."""

MAX_ARRAYS = 1 << 16
"""Maximum number of arrays; ResNet-152 has fewer than a thousand. Bounds the cost of tiny
arrays."""

_MAX_DIRECTORY_BYTES = 1 << 16
_MAX_DIMENSIONS = 32
_MAX_NAME_BYTES = 1 << 12
_CHUNK = 1 << 20

_FILE_MAGIC = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_STORAGE = {1: "row_sparse", 2: "csr"}
_SMALLEST_ARRAY = 21  # legacy: dimensions, one of them, context, type, one byte of values
_SMALLEST_NAME = 8

# mshadow's type flags, and the types of the values in the file.
_BOOL, _BFLOAT16 = 7, 12
_STORED_AS = {
    0: "<f4",
    1: "<f8",
    2: "<f2",
    3: "u1",
    4: "<i4",
    5: "i1",
    6: "<i8",
    _BOOL: "u1",
    8: "<i2",
    9: "<u2",
    10: "<u4",
    11: "<u8",
    _BFLOAT16: "<u2",
}

_ZIP_MAGIC = b"PK\x03\x04"
# Exceptions that zipfile and zlib raise on malformed archives.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)


def read_params(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an MXNet parameter file, plain or the one ``.params`` in a zip archive.

    Args:
        path: The file. Nothing is written to disk, and nothing in the file is executed.

    Returns:
        Writable arrays by name, in the file's order and types. bfloat16, which NumPy lacks, is
        widened to float32 without loss. ``arg:`` and ``aux:``, which mark weights and running
        statistics in MXNet's exports, are removed from the names.

    Raises:
        UserError: Not such a file; truncated or with trailing bytes; sparse, empty, unnamed or
            repeated arrays. The message states file, array and byte.
    """
    with ExitStack() as stack:
        reader = _open(path, stack)
        if reader.size < 16 or reader.u64("the file's magic number") != _FILE_MAGIC:
            raise reader.error("there is no MXNet NDArray list", at=0)
        if reader.u64("the reserved word"):
            raise reader.error("the reserved word is not 0", at=8)
        arrays = _read_arrays(reader)
        names = _read_names(reader, len(arrays))
        reader.finish()
    return dict(zip(names, arrays, strict=True))


def is_mxnet_params(path: Path) -> bool:
    """Whether a file begins like an MXNet parameter file, or is a zip archive that contains one."""
    try:
        with ExitStack() as stack:
            reader = _open(path, stack)
            return reader.size >= 8 and reader.u64("the file's magic number") == _FILE_MAGIC
    except UserError:
        return False


class _Reader:
    """Reads the bytes of one file in order, with bounds.

    Args:
        stream: Source of the bytes.
        size: Declared number of bytes.
        label: Name of the file in error messages.
    """

    def __init__(self, stream: BinaryIO, size: int, label: str) -> None:
        self._stream = stream
        self._label = label
        self.size = size
        self.offset = 0

    @property
    def left(self) -> int:
        return self.size - self.offset

    def error(self, fault: str, at: int | None = None) -> UserError:
        """The error for a fault at a byte, by default the next one."""
        position = self.offset if at is None else at
        return UserError(
            f"Cannot read MXNet parameters from '{self._label}': at byte {position} {fault}. "
            "Download the file again and compare its checksum, or give other weights."
        )

    def take(self, count: int, what: str) -> bytearray:
        """The next bytes; memory grows with the bytes read, not with the declared number."""
        if count > self.left:
            raise self.error(f"{what} needs {count} bytes, but {self.left} are left")
        data = bytearray()
        while len(data) < count:
            chunk = self._read(min(count - len(data), _CHUNK))
            if not chunk:
                raise self.error(f"{what} needs {count} bytes, but only {len(data)} could be read")
            data += chunk
        self.offset += count
        return data

    def finish(self) -> None:
        """Raise UserError unless the file ends here."""
        if self.left:
            raise self.error(f"{self.left} bytes follow the expected end")
        if self._read(1):
            raise self.error("the file continues after its declared end")

    def u32(self, what: str) -> int:
        return int(struct.unpack("<I", self.take(4, what))[0])

    def i32(self, what: str) -> int:
        return int(struct.unpack("<i", self.take(4, what))[0])

    def u64(self, what: str) -> int:
        return int(struct.unpack("<Q", self.take(8, what))[0])

    def integers(self, count: int, kind: str, what: str) -> tuple[int, ...]:
        return struct.unpack(f"<{count}{kind}", self.take(count * struct.calcsize(kind), what))

    def _read(self, count: int) -> bytes:
        try:
            return self._stream.read(count)
        except _ZIP_ERRORS as error:
            raise self.error(f"reading failed ({brief(error)})") from error


def _read_arrays(reader: _Reader) -> list[NDArray[Any]]:
    count = reader.u64("the number of arrays")
    if not count:
        raise reader.error("there are no arrays", at=16)
    if count > min(MAX_ARRAYS, reader.left // _SMALLEST_ARRAY):
        raise reader.error(f"{count} arrays are declared, more than the file can hold", at=16)
    return [_read_array(reader, f"array {i + 1} of {count}") for i in range(count)]


def _read_array(reader: _Reader, which: str) -> NDArray[Any]:
    start = reader.offset
    magic = reader.u32(which)
    if magic in (_V2, _V3):
        storage = reader.i32(f"the storage type of {which}")
        if storage:
            kind = _STORAGE.get(storage, f"of unknown storage type {storage}")
            raise reader.error(f"{which} is {kind}; only dense arrays can be read", at=start)
    shape = _read_shape(reader, magic, which)
    reader.take(8, f"the context of {which}")  # the device on which it was saved
    type_at = reader.offset
    flag = reader.i32(f"the type of {which}")
    if flag not in _STORED_AS:
        raise reader.error(f"{which} has the unknown type {flag}", at=type_at)
    stored_as = np.dtype(_STORED_AS[flag])
    values = reader.take(
        math.prod(shape) * stored_as.itemsize, f"{which}, of shape {brief(str(shape))},"
    )
    return _typed(np.frombuffer(values, stored_as).reshape(shape), flag)


def _read_shape(reader: _Reader, magic: int, which: str) -> tuple[int, ...]:
    what = f"the shape of {which}"
    start = reader.offset
    legacy = magic not in (_V1, _V2, _V3)
    dimensions = magic if legacy else reader.i32(what)
    if not 0 <= dimensions <= _MAX_DIMENSIONS:
        raise reader.error(f"{which} has {dimensions} dimensions", at=start)
    if dimensions == 0 and magic != _V3:  # before NumPy's rules, V3, it meant an empty array
        raise reader.error(f"{which} is empty: it has no dimensions", at=start)
    shape = reader.integers(dimensions, "I" if legacy else "q", what)
    if any(size <= 0 for size in shape):
        raise reader.error(f"{which} has the shape {brief(str(shape))}", at=start)
    return shape


def _typed(values: NDArray[Any], flag: int) -> NDArray[Any]:
    """The values in a type of NumPy for which every bit pattern is valid."""
    if flag == _BOOL:
        return values != 0
    if flag == _BFLOAT16:
        return np.asarray(values.astype("<u4") << 16).view("<f4")
    return values


def _read_names(reader: _Reader, count: int) -> list[str]:
    start = reader.offset
    named = reader.u64("the number of names")
    if named != count:
        raise reader.error(f"there are {named} names for {count} arrays", at=start)
    if named > reader.left // _SMALLEST_NAME:
        raise reader.error(f"{named} names are declared, more than the file can hold", at=start)
    names: dict[str, int] = {}
    for i in range(count):
        which = f"the name of array {i + 1} of {count}"
        start = reader.offset
        name = _read_name(reader, which)
        if name in names:
            fault = f"array {i + 1} is named {brief(repr(name))}, as array {names[name] + 1} is"
            raise reader.error(fault, at=start)
        names[name] = i
    return list(names)


def _read_name(reader: _Reader, which: str) -> str:
    start = reader.offset
    length = reader.u64(f"the length of {which}")
    if length > min(_MAX_NAME_BYTES, reader.left):
        raise reader.error(f"{which} has a declared length of {length} bytes", at=start)
    try:
        name = reader.take(length, which).decode("utf-8")
    except UnicodeDecodeError as error:
        raise reader.error(f"{which} is not UTF-8", at=start) from error
    return name.removeprefix("aux:" if name.startswith("aux:") else "arg:")


def _open(path: Path, stack: ExitStack) -> _Reader:
    """Open a plain file, or the parameters in a zip archive; ``stack`` closes them."""
    try:
        file = stack.enter_context(open_regular(path))
        zipped = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
        size = file.seek(0, os.SEEK_END)
        if zipped:
            return _open_member(path, file, size, stack)
        file.seek(0)
    except OSError as error:
        raise UserError(
            f"'{path}' could not be opened ({brief(error)}); check the name and that you "
            "may read it."
        ) from error
    return _Reader(file, size, str(path))


def _open_member(path: Path, file: BinaryIO, archive_size: int, stack: ExitStack) -> _Reader:
    try:
        if directory_bytes(file) > _MAX_DIRECTORY_BYTES:
            raise _bad_archive(path, "it lists too many files")
        archive = stack.enter_context(zipfile.ZipFile(file))
        member = _only_params(path, archive)
        declared = member.file_size
        _check_member(path, member, archive_size)
        # zipfile returns no more than the directory declares. One more byte is requested, to
        # notice a member that continues after its declared end.
        member.file_size += 1
        stream = stack.enter_context(archive.open(member))
    except _ZIP_ERRORS as error:
        raise _bad_archive(path, f"it could not be read ({brief(error)})") from error
    return _Reader(stream, declared, f"{path}, {brief(member.filename)}")  # type: ignore[arg-type]


def _only_params(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    found = [
        entry
        for entry in archive.infolist()
        if entry.filename.endswith(".params") and not entry.filename.startswith("__MACOSX/")
    ]
    if len(found) != 1:
        raise _bad_archive(path, f"it contains {len(found)} .params files instead of one")
    return found[0]


def _check_member(path: Path, member: zipfile.ZipInfo, archive_size: int) -> None:
    # zipfile does not limit the output of one read for the other methods.
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _bad_archive(path, f"it is compressed by method {member.compress_type}, not deflate")
    most = min(MAX_UNPACKED_BYTES, MAX_UNPACKED_RATIO * archive_size)
    if member.file_size > most:
        raise _bad_archive(
            path, f"it would unpack to {member.file_size} bytes; the most allowed here is {most}"
        )


def _bad_archive(path: Path, fault: str) -> UserError:
    return UserError(
        f"The archive '{path}' was refused: {fault}. Download it again, or unpack it yourself and "
        "give the .params file."
    )
