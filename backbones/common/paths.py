"""Paths given by users: expansion, and explanations for missing files."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.near_names import folded, near, suggestion

_SHOWN = 3  # similar names in a message


def expanded(path: str | Path) -> Path:
    """A path with ``~`` expanded.

    Raises:
        UserError: The home folder is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"'{path}' begins with an unknown home folder; give the full path."
        ) from error


def is_file(path: Path) -> bool:
    """Whether there is a regular file; False also for names that no file can have."""
    try:
        return path.is_file()
    except OSError:  # a name too long, a folder that may not be entered
        return False


def missing(path: Path) -> str:
    """Why there is no regular file at a path, and what is there instead.

    Returns:
        A clause that starts with the absolute path, without a full stop.
    """
    try:
        if path.is_dir():
            return f"'{path.absolute()}' is a folder, not a file"
        if path.exists():
            return f"'{path.absolute()}' is not a regular file"
        return f"'{path.absolute()}' does not exist{nearby(path)}"
    except OSError as error:  # a name too long, a folder that may not be entered
        return f"'{path.absolute()}' cannot be accessed ({error.strerror})"
    except ValueError:
        return f"{str(path)!r} is not a valid file name"


def missing_folder(path: Path) -> str:
    """Why there is no folder at a path; like :func:`missing`."""
    try:
        if path.exists() and not path.is_dir():
            return f"'{path.absolute()}' is a file, not a folder"
    except OSError as error:
        return f"'{path.absolute()}' cannot be accessed ({error.strerror})"
    except ValueError:
        return f"{str(path)!r} is not a valid file name"
    return f"'{path.absolute()}' does not exist{nearby(path)}"


def nearby(path: Path) -> str:
    """A clause that suggests what a missing path may have meant; empty for no suggestion."""
    try:
        return "" if path.exists() else _nearby(path)
    except (OSError, ValueError):  # what cannot be looked at
        return ""


def _nearby(path: Path) -> str:
    if path.is_symlink():
        return f": it is a link to '{os.readlink(path)}', which does not exist"
    if "\\" in str(path) and (turned := Path(str(path).replace("\\", "/"))).exists():
        return f"; with / instead of \\ there is '{turned}'"
    place = path.absolute()
    while not place.parent.is_dir():
        place = place.parent
    parents = ";"
    if place != path.absolute():
        parents = f"; of its parent folders, only '{place.parent}' exists;"
    names = os.listdir(place.parent)
    like = [name for name in names if _plain(name) == _plain(place.name)]
    if not like:
        wanted = _plain(_stem(place.name))
        like = [name for name in names if _plain(_stem(name)) == wanted]
    like = like or near(place.name, names)
    if not like:
        return parents.removesuffix(";")
    shown = "' and '".join(sorted(like)[:_SHOWN])
    return f"{parents} that folder contains '{shown}'"


def _stem(name: str) -> str:
    """A name without all of its suffixes: ``a`` for ``a.toml.txt``."""
    return name.lstrip(".").partition(".")[0]


def _plain(name: str) -> str:
    """A name in a normal form of Unicode, without case and surrounding blanks."""
    return folded(name).strip()


def unknown_name(what: str, name: str, known: Collection[str], ending: str = ".toml") -> UserError:
    """The error for a name that is neither known nor the path of a file of one's own.

    Args:
        what: The kind of thing, such as ``"data set"``.
        name: As the user gave it.
        known: All known names.
        ending: Ending of the name of one's own file.
    """
    path = Path(name)
    if name.endswith(ending):
        return UserError(f"There is no {what} at that path: {missing(path)}.")
    if is_file(path):
        return UserError(
            f"'{path.absolute()}' does not end in {ending}, as the file of a {what} must; "
            "rename it."
        )
    if "/" in name or "\\" in name:
        return UserError(
            f"There is no {what} '{name}': {missing(path)}. Your own is a file that "
            f"ends in {ending}."
        )
    return UserError(
        f"There is no {what} '{name}': {suggestion(name, known)} Your own is a file that ends in "
        f"{ending}."
    )
