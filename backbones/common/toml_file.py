"""TOML files that people write: data sets, suites and backbones of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from backbones.common.escape import brief
from backbones.common.json_file import require_plain
from backbones.common.regular_file import read_bytes
from backbones.common.text_encoding import decoded

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


MAX_BYTES = 1 << 20
"""Most bytes of a file; a person's has a few hundred."""

Form = Any
"""What a value must be: a type, a list of one form for every element, or a table of forms."""

_KINDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def read_toml(path: Path, what: str = "") -> dict[str, Any]:
    """What a TOML file says.

    Args:
        path: The file.
        what: What it is, for the sentence; empty for the path alone.

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
    try:
        found = tomllib.loads(text)
        require_plain(found, infinite=True)
    except (ValueError, RecursionError) as error:  # its own errors, and numbers of 5,000 digits
        raise UserError(f"{name} is not valid TOML: {brief(error)}.") from error
    return found


def misfit(value: Any, form: Form, place: str = "") -> str:
    """Where a value has another form than it must, such as ``'train[0].folder' must be a text``.

    Args:
        value: What a file says.
        form: What it must be; entries of a table that the form does not name may be anything, and
            those that it names may be missing.
        place: Where the value stands.

    Returns:
        The first such place; empty where the value fits.
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


def unknown(told: Any, form: Form) -> Iterator[tuple[str, list[str]]]:
    """Entries of a file that mean nothing, each with those that are known in its place.

    Args:
        told: What a file says; it fits the form.
        form: As :func:`misfit` takes it, with all entries that there are.
    """
    if isinstance(form, list) and isinstance(form[0], dict):
        for one in told:
            yield from unknown(one, form[0])
    elif isinstance(form, dict):
        for name, value in told.items():
            if name in form:
                yield from unknown(value, form[name])
            else:
                yield name, list(form)


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    if isinstance(value, str):
        return kind is str and "\0" not in value  # which no path and no name has
    return isinstance(value, int | float if kind is float else kind)
