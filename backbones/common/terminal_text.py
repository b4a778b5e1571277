"""Text for terminals and pipes that lack Unicode, as with LANG=C."""

from __future__ import annotations

import codecs

LEGIBLE = "transfer-bench-legible"
"""Name of the error handler :func:`legible`, for ``errors`` of a text stream."""

_PLAIN = {
    "…": "...",
    "–": "-",
    "−": "-",
    "×": "x",
    "±": "+-",
    "≈": "~",
    "’": "'",
    "“": '"',
    "”": '"',
    "█": "#",
    "━": "-",
}


def legible(error: UnicodeError) -> tuple[str, int]:
    """Replace typographic characters by ASCII ones, and letters by their codes.

    Unlike question marks, codes keep names in other scripts distinguishable.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    replaced = (_PLAIN.get(sign) or sign.encode("unicode_escape").decode() for sign in signs)
    return "".join(replaced), error.end


codecs.register_error(LEGIBLE, legible)
