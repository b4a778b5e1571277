"""JSON that others have made, read within bounds: no number, text or depth that breaks a reader."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from backbones.common.regular_file import UnfitFile, read_bytes
from backbones.common.text_encoding import decoded

MAX_BYTES = 1 << 23
"""Most bytes of a record or another small file; a record has some 50,000."""

MAX_DEPTH = 64
"""Most lists and tables in one another; a toolbox's config has about ten."""

_LARGEST = 1 << 63


def read_json(path: Path, most: int = MAX_BYTES) -> Any:
    """What a JSON file holds.

    Args:
        path: The file.
        most: How many bytes it may have.

    Raises:
        UnfitFile: Not a regular file, too large, or as :func:`parse_json`.
        OSError: It cannot be read.
    """
    content = read_bytes(path, most)
    try:
        return parse_json(decoded(content))
    except ValueError as error:
        raise UnfitFile(path, f"is not JSON that can be read ({error})") from error


def parse_json(text: str) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: It is not JSON, or holds what :func:`require_plain` refuses.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError(f"it nests over {MAX_DEPTH} levels") from error
    require_plain(value)
    return value


def require_plain(value: Any, infinite: bool = False) -> None:
    """See that a value of JSON or TOML can be computed with, written and printed.

    Args:
        value: What a parser made.
        infinite: Whether numbers may be NaN or infinite, as in TOML.

    Raises:
        ValueError: It holds a number that is not finite or has over 64 bits, text that is not
            Unicode (half of a surrogate pair), or over :data:`MAX_DEPTH` levels.
    """
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise ValueError(f"it nests over {MAX_DEPTH} levels")
        inside: list[Any] = []
        for one in level:
            if isinstance(one, str):
                if not one.isascii():
                    one.encode()  # its error is a ValueError
            elif isinstance(one, dict):
                inside += one.keys()
                inside += one.values()
            elif isinstance(one, list):
                inside += one
            elif isinstance(one, int):
                if not -_LARGEST <= one < 2 * _LARGEST:
                    raise ValueError("it holds a whole number of over 64 bits")
            elif isinstance(one, float) and not infinite and not math.isfinite(one):
                raise ValueError(f"it holds the number {one}")
        level, depth = inside, depth + 1
