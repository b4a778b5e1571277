"""What a safetensors file says of itself, read without torch and without its tensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from backbones.errors import UserError

METADATA_KEY = "transfer_bench"
"""Key of the JSON text in a safetensors header: recipe, preprocessing and history."""

_LENGTH = struct.Struct("<Q")
_MAX_HEADER = 100_000_000  # bytes: the bound of the format itself


def read_own_metadata(path: Path) -> dict[str, Any]:
    """What the project's own training wrote beside the tensors.

    Empty for the files of others, and for those of another format.

    Raises:
        UserError: The file cannot be read, or its header is none.
    """
    if path.suffix != ".safetensors":
        return {}
    try:
        with path.open("rb") as file:
            (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
            if length > min(_MAX_HEADER, path.stat().st_size):
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(file.read(length))
        own = json.loads(header.get("__metadata__", {}).get(METADATA_KEY, "{}"))
        if not isinstance(own, dict):
            raise ValueError("metadata that are no table")
    except (OSError, ValueError, AttributeError, TypeError, RecursionError, struct.error) as error:
        raise UserError(
            f"'{path}' is not a whole safetensors file ({error}); fetch or write it again."
        ) from error
    return own
