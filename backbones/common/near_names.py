"""What an unknown name may have been meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def nearest(name: str, known: Collection[str]) -> list[str]:
    """Up to two known names that are near one, the nearest first."""
    return difflib.get_close_matches(name, known, n=2, cutoff=0.6)


def suggestion(name: str, known: Collection[str]) -> str:
    """``did you mean a or b?``, or all that there are where nothing is near."""
    near = difflib.get_close_matches(name, known, n=2, cutoff=0.4)
    return f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}."
