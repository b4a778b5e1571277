"""Timed probes that were made before, kept in the cache."""

from __future__ import annotations

from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.json_file import read_json
from backbones.common.resources import cache_dir
from transfer.records import records
from transfer.records.records import Record


def folder() -> Path:
    """Where probes are kept."""
    return cache_dir() / "probes"


def read_all() -> list[Record]:
    """Every probe that can be read, in the parts of a record that tell the cost."""
    found = (read(path) for path in records.files(folder()))
    return [probe for probe in found if probe]


def read(path: Path) -> Record | None:
    """One probe; None where it cannot be read, since it is made again where it is needed."""
    try:
        content = read_json(path)
    except (OSError, UserError):
        return None
    if not isinstance(content, dict):
        return None
    wanted = {"cell": dict, "seconds": dict, "hardware": dict}
    fits = all(isinstance(content.get(name), kind) for name, kind in wanted.items())
    return Record(path, content) if fits else None
