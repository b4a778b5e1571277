"""Reads the metadata of a safetensors file, without torch and without its tensors."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from backbones.common.errors import UserError
from backbones.common.json_file import parse_json
from backbones.common.regular_file import open_regular

METADATA_KEY = "transfer_bench"
"""Key of the JSON text in a safetensors header: recipe, preprocessing and history."""

_LENGTH = struct.Struct("<Q")
_LARGEST_NUMBER = 1e6  # excludes non-finite ones too
_MAX_HEADER = 1 << 23  # bytes; a network of 1,000 tensors needs 100 kB


def _three_numbers(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_number, value))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < _LARGEST_NUMBER


_FORM: dict[str, Callable[[Any], bool]] = {
    "row": lambda value: isinstance(value, str),
    "architecture": lambda value: isinstance(value, str),
    "seed": lambda value: isinstance(value, int),
    "mean": _three_numbers,
    "std": lambda value: _three_numbers(value) and min(value) > 0,
    "metrics": lambda value: isinstance(value, dict) and all(map(_number, value.values())),
    "data": lambda value: isinstance(value, dict) and isinstance(value.get("name", ""), str),
}
"""Checks of the optional metadata that are used; the rest is only copied into records."""


def header_length(path: Path, file: IO[bytes]) -> int:
    """The length of a file's header, which follows, in bytes.

    Raises:
        UserError: The file has no header, or the header is longer than weights need.
    """
    start = file.read(_LENGTH.size)
    length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else None
    if length is None or length > path.stat().st_size:
        raise UserError(
            f"'{path}' is not a complete safetensors file (a header of {length or 'no'} bytes); "
            "download or write it again."
        )
    if length > _MAX_HEADER:
        raise UserError(
            f"'{path}' has a header of {length:,} bytes, over the {_MAX_HEADER:,} that are read; "
            "save only the network's tensors."
        )
    return int(length)


def read_own_metadata(path: Path) -> dict[str, Any]:
    """The metadata that this project's training wrote.

    Empty for other files and other formats.

    Raises:
        UserError: The file cannot be read, or its header is malformed.
    """
    if path.suffix != ".safetensors":
        return {}
    try:
        with open_regular(path) as file:
            header = parse_json(file.read(header_length(path, file)).decode("utf-8"))
        own = parse_json(header.get("__metadata__", {}).get(METADATA_KEY, "{}"))
        if not isinstance(own, dict):
            raise ValueError("metadata that are not a table")
        if wrong := [name for name, fits in _FORM.items() if name in own and not fits(own[name])]:
            raise ValueError(f"metadata with an invalid {wrong[0]}")
    except (OSError, ValueError, AttributeError, TypeError, RecursionError, struct.error) as error:
        raise UserError(
            f"'{path}' is not a complete safetensors file ({error}); download or write it again."
        ) from error
    return own
