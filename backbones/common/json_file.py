"""Reads untrusted JSON; numbers, text, depth and size are bounded."""

from __future__ import annotations

import gc
import json
import math
from pathlib import Path
from typing import Any

from backbones.common.regular_file import UnfitFile, read_bytes
from backbones.common.text_encoding import decoded

MAX_BYTES = 1 << 23
"""Maximum size of a record or another small file in bytes; a record has about 50,000."""

MAX_DEPTH = 64
"""Maximum depth of nested lists and tables; a toolbox's config has about ten levels."""

_LARGEST = 1 << 63
_LONG_INTEGER = "it contains an integer of more than 64 bits"


def read_json(path: Path, most: int = MAX_BYTES) -> Any:
    """The content of a JSON file.

    Args:
        path: The file.
        most: Maximum size in bytes.

    Raises:
        UnfitFile: Not a regular file, too large, or as :func:`parse_json`.
        OSError: It cannot be read.
    """
    content = read_bytes(path, most)
    try:
        return parse_json(decoded(content))
    except ValueError as error:
        raise UnfitFile(path, f"is not valid JSON ({error})") from error


def parse_json(text: str) -> Any:
    """The content of a JSON text.

    Raises:
        ValueError: It is not JSON, or :func:`require_plain` refuses its content.
    """
    try:
        value = load_text(text)
    except RecursionError as error:
        raise ValueError(f"it nests more than {MAX_DEPTH} levels") from error
    require_plain(value)
    return value


def load_text(text: str | bytes) -> Any:
    """As ``json.loads``, with the garbage collector off: JSON has no cycles to collect.

    The collector looks through all lists again and again while they are made. Millions of them take
    a quarter of the time without it.

    Raises:
        ValueError: It is not JSON, or it contains an integer of more digits than Python converts.
        RecursionError: It nests too deep.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        return json.loads(text)
    except ValueError as error:
        raise plainly(error) from error
    finally:
        if was_on:
            gc.enable()


def plainly(error: ValueError) -> ValueError:
    """A parser's error; one about the digits of an integer advises programmers, not readers."""
    if "integer string conversion" in str(error):
        return ValueError(_LONG_INTEGER)
    return error


def require_plain(value: Any, infinite: bool = False) -> None:
    """Check that a value of JSON or TOML can be computed with, written and printed.

    Args:
        value: The output of a parser.
        infinite: Whether numbers may be NaN or infinite, as in TOML.

    Raises:
        ValueError: It contains a number that is not finite or has more than 64 bits, text that is
            not Unicode (half of a surrogate pair), or more than :data:`MAX_DEPTH` levels.
    """
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise ValueError(f"it nests more than {MAX_DEPTH} levels")
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
                    raise ValueError(_LONG_INTEGER)
            elif isinstance(one, float) and not infinite and not math.isfinite(one):
                raise ValueError(f"it contains the number {one}")
        level, depth = inside, depth + 1
