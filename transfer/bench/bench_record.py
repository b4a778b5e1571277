"""What the records of ``transfer bench`` have in common."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from backbones.common.atomic_write import write_atomically
from backbones.common.versions import versions
from transfer.records import provenance


def write(content: dict[str, Any], path: Path) -> None:
    """Write a record.

    Raises:
        UserError: The disk is not writable.
    """
    write_atomically(path, json.dumps(content, indent=1, sort_keys=True).encode())


def circumstances() -> dict[str, Any]:
    """Versions, machine, checkout and time."""
    return {
        "versions": versions(),
        "hardware": provenance.machine(),
        "git": provenance.git_state(),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
