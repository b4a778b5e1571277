"""Names of a training's saved states, and their removal; imports nothing heavy."""

from __future__ import annotations

import contextlib
from pathlib import Path

LATEST, PREVIOUS = "state.pt", "state-previous.pt"
COPY = "state-copy.pt"
"""Of a copy that was fetched, until it has taken the place of the latest or has lost to it."""

FOLDER = "state"
"""Of the states, in a training's work folder."""


def forget(folder: Path) -> None:
    """Remove saved states: the training's result stands, or it is to start anew."""
    for name in (LATEST, PREVIOUS, f"{LATEST}.new", COPY, f"{COPY}.new"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
