"""File names of a training's checkpoints, and their removal; imports nothing heavy."""

from __future__ import annotations

import contextlib
from pathlib import Path

LATEST, PREVIOUS = "state.pt", "state-previous.pt"
COPY = "state-copy.pt"
"""Name of a fetched copy, until it has replaced the latest checkpoint or was discarded."""

FOLDER = "state"
"""Folder of the checkpoints in a training's work directory."""


def forget(folder: Path) -> None:
    """Remove the checkpoints: the training is recorded, or must start from the beginning."""
    for name in (LATEST, PREVIOUS, f"{LATEST}.new", COPY, f"{COPY}.new"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
