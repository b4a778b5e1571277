"""Earlier timed probes, kept in the cache."""

from __future__ import annotations

from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.json_file import read_json
from backbones.common.resources import cache_dir
from transfer.records import records
from transfer.records.records import Record


def folder() -> Path:
    """The folder of the probes."""
    return cache_dir() / "probes"


def read_all() -> list[Record]:
    """Every readable probe, as a record with costs only."""
    found = (read(path) for path in records.files(folder()))
    return [probe for probe in found if probe]


def read(path: Path) -> Record | None:
    """One probe; None if it is unreadable, since it is measured again when needed."""
    try:
        content = read_json(path)
    except (OSError, UserError):
        return None
    if not isinstance(content, dict):
        return None
    wanted = {"cell": dict, "seconds": dict, "hardware": dict}
    fits = all(isinstance(content.get(name), kind) for name, kind in wanted.items())
    return Record(path, content) if fits else None
