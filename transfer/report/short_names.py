"""Short, unique names for files and for links to them."""

from __future__ import annotations

import re
from collections.abc import Container
from itertools import count


def short_name(long_name: str, taken: Container[str]) -> str:
    """A name made of letters, digits, dots and dashes that is not taken yet.

    Args:
        long_name: What it stands for.
        taken: The names that are in use.
    """
    stem = re.sub(r"[^\w.-]", "-", long_name)
    if stem not in taken:
        return stem
    return next(name for number in count(2) if (name := f"{stem}-{number}") not in taken)
