"""Names of a training's saved states, and their removal; imports nothing heavy."""

from __future__ import annotations

import contextlib
from pathlib import Path

LATEST, PREVIOUS = "state.pt", "state-previous.pt"
FOLDER = "state"
"""Of the states, in a training's work folder."""


def forget(folder: Path) -> None:
    """Remove saved states: the training's result stands, or it is to start anew."""
    for name in (LATEST, PREVIOUS, f"{LATEST}.new"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
