"""Timed probes that were made before, kept in the cache."""

from __future__ import annotations

import json
from pathlib import Path

from backbones.resources import cache_dir
from transfer.report.records import Record


def folder() -> Path:
    """Where probes are kept."""
    return cache_dir() / "probes"


def read_all() -> list[Record]:
    """Every probe that can be read, in the parts of a record that tell the cost."""
    found = []
    for path in sorted(folder().glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # a probe is made again where it is needed
        if isinstance(content, dict) and {"cell", "seconds", "hardware"} <= content.keys():
            found.append(Record(path, content))
    return found
