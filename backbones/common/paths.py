"""Paths that users name: where they lead, and what lies there in the place of a missing file."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.near_names import folded, near, suggestion

_SHOWN = 3  # names that may have been meant


def expanded(path: str | Path) -> Path:
    """A path with ``~`` in its place.

    Raises:
        UserError: The home folder that it begins with is not known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"'{path}' begins with a home folder that is not known: give the whole path."
        ) from error


def missing(path: Path) -> str:
    """Why there is no regular file at a path, and what lies in its place.

    Returns:
        The rest of a sentence that starts with the path, absolute; without a full stop.
    """
    try:
        if path.is_dir():
            return f"'{path.absolute()}' is a folder, not a file"
        if path.exists():
            return f"'{path.absolute()}' is not a regular file"
        return f"'{path.absolute()}' does not exist{nearby(path)}"
    except OSError as error:  # a name too long, a folder that may not be entered
        return f"'{path.absolute()}' cannot be looked at ({error.strerror})"
    except ValueError:
        return f"{str(path)!r} is not a possible file name"


def missing_folder(path: Path) -> str:
    """Why there is no folder at a path; as :func:`missing`."""
    try:
        if path.exists() and not path.is_dir():
            return f"'{path.absolute()}' is a file, not a folder"
    except OSError as error:
        return f"'{path.absolute()}' cannot be looked at ({error.strerror})"
    except ValueError:
        return f"{str(path)!r} is not a possible file name"
    return f"'{path.absolute()}' does not exist{nearby(path)}"


def nearby(path: Path) -> str:
    """What may have been meant by a path at which nothing is, in a clause; empty for nothing."""
    try:
        return "" if path.exists() else _nearby(path)
    except (OSError, ValueError):  # what cannot be looked at
        return ""


def _nearby(path: Path) -> str:
    if path.is_symlink():
        return f": it is a link to '{os.readlink(path)}', which is not there"
    if "\\" in str(path) and (turned := Path(str(path).replace("\\", "/"))).exists():
        return f"; with / in place of \\ there is '{turned}'"
    place = path.absolute()
    while not place.parent.is_dir():
        place = place.parent
    told = ";"
    if place != path.absolute():
        told = f": of its folders only '{place.parent}' is there;"
    names = os.listdir(place.parent)
    like = [name for name in names if _plain(name) == _plain(place.name)]
    if not like:
        wanted = _plain(_stem(place.name))
        like = [name for name in names if _plain(_stem(name)) == wanted]
    like = like or near(place.name, names)
    if not like:
        return told.removesuffix(";")
    shown = "' and '".join(sorted(like)[:_SHOWN])
    return f"{told} in that folder there is '{shown}'"


def _stem(name: str) -> str:
    """A name without any of its endings: ``a`` of ``a.toml.txt``."""
    return name.lstrip(".").partition(".")[0]


def _plain(name: str) -> str:
    """A name in one form of Unicode and of letters, without blanks around it."""
    return folded(name).strip()


def unknown_name(what: str, name: str, known: Collection[str]) -> UserError:
    """The error for a name that is neither known nor leads to a user's ``.toml`` file.

    Args:
        what: What it should have named, such as ``"data set"``.
        name: As the user gave it.
        known: The names that there are.
    """
    path = Path(name)
    if name.endswith(".toml"):
        return UserError(f"There is no {what} at that place: {missing(path)}.")
    if path.is_file():
        return UserError(
            f"'{path.absolute()}' does not end in .toml, as the file of a {what} must: rename it."
        )
    if "/" in name or "\\" in name:
        return UserError(
            f"There is no {what} '{name}': {missing(path)}. Your own is a file that ends in .toml."
        )
    return UserError(
        f"There is no {what} '{name}': {suggestion(name, known)} Your own is a file that ends in "
        ".toml."
    )
