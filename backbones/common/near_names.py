"""Suggestions for unknown names."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Collection
from itertools import islice

_LONGEST = 200  # letters of a name; the time of a comparison grows with their square
_MOST = 200  # names that a message lists


def near(name: str, known: Collection[str]) -> list[str]:
    """The two known names most similar to a name, ignoring case; none for very long names."""
    if len(name) > _LONGEST:
        return []
    plain = {folded(one): one for one in known if len(one) <= _LONGEST}
    return [plain[one] for one in difflib.get_close_matches(folded(name), plain, 2, 0.4)]


def suggestion(name: str, known: Collection[str]) -> str:
    """``did you mean a or b?``, or a list of the known names if none is similar."""
    if found := near(name, known):
        return f"did you mean {' or '.join(found)}?"
    more = ", …" if len(known) > _MOST else ""
    return f"there are {', '.join(islice(known, _MOST))}{more}."


def did_you_mean(name: str, known: Collection[str]) -> str:
    """`` (did you mean 'a' or 'b'?)`` to follow a name; empty if no name is similar."""
    found = [f"'{one}'" for one in near(name, known)]
    return f" (did you mean {' or '.join(found)}?)" if found else ""


def folded(name: str) -> str:
    """A name in a normal form of Unicode and without case, for comparison."""
    return unicodedata.normalize("NFC", name).casefold()
