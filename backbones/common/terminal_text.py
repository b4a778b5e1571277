"""Text on terminals and in pipes that do not know all signs, as with LANG=C."""

from __future__ import annotations

import codecs

LEGIBLE = "transfer-bench-legible"
"""Name of the handler of :func:`legible`, for ``errors`` of a text stream."""

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
    """A plain sign in the place of a typographic one, and a number in that of a letter.

    Names in another script can still be told apart, which they could not as question marks.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    told = (_PLAIN.get(sign) or sign.encode("unicode_escape").decode() for sign in signs)
    return "".join(told), error.end


codecs.register_error(LEGIBLE, legible)
