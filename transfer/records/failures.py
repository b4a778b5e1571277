"""Failures: why a cell has no record, a small file in a folder beside the records."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from backbones.common.atomic_write import write_atomically
from backbones.common.errors import UserError
from backbones.common.json_file import read_json


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The last attempt at a cell.

    Attributes:
        cell: The cell's name and id.
        reason: One sentence.
        detail: The traceback of a defect; empty for what the user can mend.
        attempts: How often the cell has failed since it was last asked for.
        when: Date and time, ISO 8601, of the machine's clock.
    """

    cell: str
    reason: str
    detail: str
    attempts: int
    when: str


def folder_of(place: Path) -> Path:
    """Where failures stand of the cells whose records are in ``place``."""
    return place.with_name("failures")


def path_of(record: Path) -> Path:
    """The file of the failure of the cell whose record would be ``record``."""
    return folder_of(record.parent) / record.name


def write(record: Path, failure: Failure) -> None:
    """Keep why a cell has no record.

    Raises:
        UserError: The folder cannot be written.
    """
    write_atomically(path_of(record), json.dumps(asdict(failure), indent=1).encode())


def read(record: Path) -> Failure | None:
    """Why a cell has no record; None where nothing, or nothing readable, is kept."""
    try:
        content = read_json(path_of(record))
    except (OSError, UserError):
        return None
    kinds = {"cell": str, "reason": str, "detail": str, "attempts": int, "when": str}
    fits = isinstance(content, dict) and content.keys() == kinds.keys()
    fits = fits and all(type(content[name]) is kind for name, kind in kinds.items())
    return Failure(**content) if fits else None


def forget(record: Path) -> None:
    """The cell has its record now."""
    path = path_of(record)
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()
