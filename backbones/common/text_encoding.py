"""Decodes text files: UTF-8, or UTF-16 and UTF-32 with a byte order mark."""

from __future__ import annotations

import codecs

_MARKS = (  # longest first: the mark of UTF-32 begins like that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decoded(content: bytes) -> str:
    """The text of a file, without its byte order mark.

    Raises:
        ValueError: It is in another encoding; the message is the rest of a sentence that starts
            with the file's name.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            try:
                return content.decode(encoding)
            except UnicodeDecodeError as error:
                name = encoding.removesuffix("-sig").upper()
                raise ValueError(
                    f"has the byte order mark of {name} but is not ({error.reason})"
                ) from error
    if len(content) > 3 and 3 * content.count(0) > len(content):
        raise ValueError("is not text, or UTF-16 without a byte order mark; save it as UTF-8")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"is not text in UTF-8 (byte 0x{content[error.start]:02x} in line {line}); save it as "
            "UTF-8"
        ) from error
