"""Reads TOML files: data sets, suites and backbones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from backbones.common.escape import brief
from backbones.common.json_file import MAX_DEPTH, plainly, require_plain
from backbones.common.regular_file import read_bytes
from backbones.common.text_encoding import decoded

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


MAX_BYTES = 1 << 20
"""Maximum size of a file in bytes; usual ones have a few hundred."""

_MAX_DOTS = 2000
"""Most dots of a line: the time for a dotted key grows with the square of its parts."""

Form = Any
"""The form of a value: a type, a list with the form of its elements, or a table of forms."""

_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def read_toml(path: Path, what: str = "") -> dict[str, Any]:
    """The content of a TOML file.

    Args:
        path: The file.
        what: The kind of file, for error messages; may be empty.

    Raises:
        UserError: It is not valid TOML in Unicode, not a regular file, or longer than
            :data:`MAX_BYTES`.
        OSError: It cannot be opened.
    """
    name = f"{what} '{path}'" if what else f"'{path}'"
    content = read_bytes(path, MAX_BYTES)
    try:
        text = decoded(content)
    except ValueError as error:
        raise UserError(f"{name} {error}.") from error
    if any(line.count(".") > _MAX_DOTS for line in text.splitlines()):
        raise UserError(f"{name} has a line with over {_MAX_DOTS:,} dots; split it.")
    try:
        found = tomllib.loads(text)
        require_plain(found, infinite=True)
    except RecursionError as error:
        raise UserError(
            f"{name} is not valid TOML: it nests more than {MAX_DEPTH} levels."
        ) from error
    except ValueError as error:
        raise UserError(f"{name} is not valid TOML: {brief(plainly(error))}.") from error
    return found


def misfit(value: Any, form: Form, place: str = "") -> str:
    """Describe where a value lacks its form, such as ``'train[0].folder' must be a text``.

    Args:
        value: The content of a file.
        form: The required form. Entries that the form lacks are not checked; entries of the form
            may be missing.
        place: The location of the value.

    Returns:
        The first such place; empty if the value fits.
    """
    parts: list[tuple[Any, Form, str]] = []
    if isinstance(form, dict):
        fits, wanted = isinstance(value, dict), "a table"
        if fits:
            dot = "." if place else ""
            parts = [(value[k], form[k], f"{place}{dot}{k}") for k in form if k in value]
    elif isinstance(form, list):
        fits, wanted = isinstance(value, list), "a list"
        if fits:
            parts = [(v, form[0], f"{place}[{i}]") for i, v in enumerate(value)]
    else:
        fits, wanted = _is(value, form), _KINDS[form]
    if not fits:
        return f"'{place}' must be {wanted}"
    return next(filter(None, (misfit(*part) for part in parts)), "")


def unknown(content: Any, form: Form) -> Iterator[tuple[str, list[str]]]:
    """Unknown entries of a file, each with the entries that are known there.

    Args:
        content: The content of a file; it fits the form.
        form: As in :func:`misfit`, with all known entries.
    """
    if isinstance(form, list) and isinstance(form[0], dict):
        for one in content:
            yield from unknown(one, form[0])
    elif isinstance(form, dict):
        for name, value in content.items():
            if name in form:
                yield from unknown(value, form[name])
            else:
                yield name, list(form)


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if isinstance(value, str):
        return kind is str and "\0" not in value  # not allowed in a path or a name
    return isinstance(value, int | float if kind is float else kind)
