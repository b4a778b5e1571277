"""Fonts for names in any script, and substitutes for characters without a font."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import ImageFont

TEXT = 15
"""Size of all text in pixels."""

_NO_SIGN = "\U0010ffff"  # never assigned: shows a font's glyph for missing characters


@cache
def font(text: str = "") -> ImageFont.FreeTypeFont:
    """Pillow's font, or the first system font with the characters that Pillow's lacks."""
    own = _own()
    lacking = frozenset(sign for sign in text if not _has(own, sign))
    return (_of_system(frozenset(text), lacking) if lacking else None) or own


def legible(text: str) -> str:
    """A text with Unicode numbers for the characters that its font lacks, as in ``repr``."""
    drawn = font(text)
    return "".join(
        sign if sign.isprintable() and _has(drawn, sign) else _number(sign) for sign in text
    )


def _number(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


@cache
def _own() -> ImageFont.FreeTypeFont:
    found = ImageFont.load_default(TEXT)
    assert isinstance(found, ImageFont.FreeTypeFont)
    return found


@cache
def _of_system(signs: frozenset[str], lacking: frozenset[str]) -> ImageFont.FreeTypeFont | None:
    """The first font with all characters; rare ones are tested first."""
    wanted = [sign for sign in (*lacking, *(signs - lacking)) if sign.isprintable()]
    return next((one for one in _system() if all(_has(one, sign) for sign in wanted)), None)


def _system() -> Iterator[ImageFont.FreeTypeFont]:
    """The system fonts, upright ones of regular weight first."""
    from matplotlib import font_manager  # slow to import, and rarely needed

    def rank(path: str) -> tuple[bool, str]:
        name = Path(path).stem.lower()
        return any(part in name for part in ("bold", "italic", "oblique", "light")), path

    for path in sorted(font_manager.findSystemFonts(), key=rank):
        try:
            yield ImageFont.truetype(path, TEXT)
        except OSError:  # a format that FreeType cannot read
            continue


def _has(drawn: ImageFont.FreeTypeFont, sign: str) -> bool:
    return sign.isspace() or _shape(drawn, sign) != _shape(drawn, _NO_SIGN)


@cache
def _shape(drawn: ImageFont.FreeTypeFont, sign: str) -> tuple[tuple[int, int], bytes]:
    try:
        mask = drawn.getmask(sign)
    except (OSError, UnicodeError):  # a lone surrogate; a damaged font
        return _shape(drawn, _NO_SIGN) if sign != _NO_SIGN else ((0, 0), b"")
    return mask.size, bytes(mask)
