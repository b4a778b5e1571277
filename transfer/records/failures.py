"""Failures: small files beside the records that say why a cell has no record."""

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
    """The last failed attempt at a cell.

    Attributes:
        cell: The cell's name and id.
        reason: One sentence.
        detail: The traceback of a defect; empty if the user can fix it.
        attempts: Failed attempts since the cell was last requested.
        when: Local date and time, ISO 8601.
    """

    cell: str
    reason: str
    detail: str
    attempts: int
    when: str


def folder_of(place: Path) -> Path:
    """The folder of failures for the records in ``place``."""
    return place.with_name("failures")


def path_of(record: Path) -> Path:
    """The failure file for the record ``record``."""
    return folder_of(record.parent) / record.name


def write(record: Path, failure: Failure) -> None:
    """Write the reason why a cell has no record.

    Raises:
        UserError: The folder is not writable.
    """
    write_atomically(path_of(record), json.dumps(asdict(failure), indent=1).encode())


def read(record: Path) -> Failure | None:
    """Why a cell has no record; None without a readable file."""
    try:
        content = read_json(path_of(record))
    except (OSError, UserError):
        return None
    kinds = {"cell": str, "reason": str, "detail": str, "attempts": int, "when": str}
    fits = isinstance(content, dict) and content.keys() == kinds.keys()
    fits = fits and all(type(content[name]) is kind for name, kind in kinds.items())
    return Failure(**content) if fits else None


def forget(record: Path) -> None:
    """Remove the failure of a cell that has its record."""
    path = path_of(record)
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()
