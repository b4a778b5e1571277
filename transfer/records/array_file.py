"""NumPy ``savez`` files, read only after checking how much memory they need."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from backbones.common.escape import brief
from backbones.common.regular_file import UnfitFile, open_regular
from backbones.common.zip_directory import directory_bytes

MAX_BYTES = 1 << 29
"""Most bytes of a file's arrays together; each number counts as 8 bytes, its widest form.

The largest test set here, ADE20K's full release, needs 0.2 GB.
"""

_MAX_DIRECTORY_BYTES = 1 << 16
_WIDEST = 8
_KINDS = "biufU"  # booleans, integers, floats, strings
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

# Exceptions of NumPy, zipfile and zlib on damaged files.
_DAMAGES = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,  # NumPy takes a damaged header for one of Python 2
    zipfile.BadZipFile,
    zlib.error,
)


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an ``.npz`` file by name; pickles are refused.

    Raises:
        UnfitFile: Not a regular file, damaged, over :data:`MAX_BYTES`, or with values that are
            neither numbers nor strings.
        OSError: It cannot be opened.
    """
    with open_regular(path) as file:
        try:
            if directory_bytes(file) > _MAX_DIRECTORY_BYTES:
                raise UnfitFile(path, "holds too many arrays")
            with zipfile.ZipFile(file) as archive:
                names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
                needed = [_needed(archive, info) for info in archive.infolist()]
                if sum(needed) > MAX_BYTES:
                    raise UnfitFile(
                        path,
                        f"holds arrays of {sum(needed):,} bytes, more than the {MAX_BYTES:,} that "
                        "are "
                        "read",
                    )
                arrays = [_array(archive, info) for info in archive.infolist()]
        except _DAMAGES as error:
            raise UnfitFile(path, f"is not a complete NumPy archive ({brief(error)})") from error
    return dict(zip(names, arrays, strict=True))


def _needed(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """The size of an array in bytes, from its header."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"'{brief(info.filename)}' has an unsupported compression")
    with archive.open(info) as stream:
        shape, dtype = _header(stream)
    if dtype.kind not in _KINDS:
        raise ValueError(f"'{brief(info.filename)}' has the type {brief(dtype)}")
    return math.prod(shape) * max(_WIDEST, dtype.itemsize)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"an array has version {version} of NumPy's format")
    shape, _, dtype = _HEADERS[version](stream)
    if any(side < 0 for side in shape):
        raise ValueError(f"an array has the shape {brief(shape)}")
    return shape, dtype


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(info) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):
            raise ValueError(f"'{brief(info.filename)}' has data after its array")
    return array
