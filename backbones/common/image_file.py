"""Images that others have made: what decoding them takes is known before it begins.

The size in an image's header bounds the memory; the size times the scans of a progressive JPEG
bounds the time. Formats are named outright, so that no decoder starts another program: Pillow would
hand an EPS file to Ghostscript.
"""

from __future__ import annotations

import re
import struct
import warnings
from io import BytesIO
from pathlib import Path

from PIL import Image

from backbones.common.escape import brief
from backbones.common.regular_file import UnfitFile, read_bytes

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""All that is an image here, by Pillow's names."""

MAX_BYTES = 1 << 28
"""Most bytes of an image file."""

MAX_PIXELS = 1 << 26
"""Most pixels of an image, 67 million, judged by its header; a large photograph has 24 million."""

MAX_SCANNED = 1 << 30
"""Most pixels times scans of a JPEG; a progressive one of an encoder has about ten scans."""

DECODING_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    ZeroDivisionError,
    AttributeError,
    MemoryError,
    RuntimeError,
    struct.error,
    Image.DecompressionBombError,
)
"""All that Pillow's decoders let through on bytes that are not a proper image."""

_SLOW = "bmp_rle"  # Pillow decodes it in Python, as many pixels as a few bytes claim
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_START_OF_SCAN = 0xDA
_WITHOUT_LENGTH = {0x01, 0xD8, 0xD9}

_TIFF_OFFSETS = (273, 324)  # of strips and of tiles
_TIFF_TILE_SIDES = (322, 323)
_MAX_PIECES = 1 << 16
_TIFF_PACKED = (None, "raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits")


def read_image(path: Path) -> Image.Image:
    """Decode an image file to its end.

    Returns:
        The image, in the file's own mode and not yet turned as its EXIF data ask for.

    Raises:
        UnfitFile: Not a regular file, empty, too large, or as :func:`decode`.
        OSError: It cannot be opened.
    """
    return decode(path, _content(path))


def require_bounded(path: Path) -> bytes:
    """See that a decoder other than Pillow's may be given an image file: OpenCV, torchvision.

    Returns:
        The file's bytes.

    Raises:
        UnfitFile: Not a regular file, or of no format, or of more pixels or scans, than is read.
        OSError: It cannot be opened.
    """
    content = _content(path)
    _open(path, content)
    return content


def decode(path: Path, content: bytes) -> Image.Image:
    """Decode the bytes of an image to their end.

    Args:
        path: Where they are from, for the sentence.
        content: The bytes.

    Raises:
        UnfitFile: Cut short, of none of :data:`FORMATS`, or of more pixels or scans than is read.
    """
    image = _open(path, content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata
            image.load()
    except DECODING_ERRORS as error:
        raise UnfitFile(path, f"does not decode ({brief(error)})") from error
    return image


def _content(path: Path) -> bytes:
    content = read_bytes(path, MAX_BYTES)
    if not content:
        raise UnfitFile(path, "is empty")
    return content


def _open(path: Path, content: bytes) -> Image.Image:
    """An image whose header was judged, and nothing more decoded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of sizes that are judged here
            if content[:4] in (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+"):
                _require_few_pieces(path, content)
            image = Image.open(BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise UnfitFile(path, f"has over the {MAX_PIXELS:,} pixels that are read") from error
    except Image.UnidentifiedImageError as error:
        raise UnfitFile(path, f"is no image of a known format ({', '.join(FORMATS)})") from error
    except DECODING_ERRORS as error:
        raise UnfitFile(path, f"does not decode ({brief(error)})") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnfitFile(
            path, f"has {width} × {height} pixels, over the {MAX_PIXELS:,} that are read"
        )
    if image.format == "TIFF":
        _require_usual_tiff(path, image)
    elif image.format == "BMP" and any(tile[0] == _SLOW for tile in image.tile):
        raise UnfitFile(path, "is a run-length coded BMP, which takes seconds to decode")
    elif image.format in ("JPEG", "MPO"):
        most = MAX_SCANNED // (width * height)
        if _scans(content, most) > most:
            raise UnfitFile(path, f"has over {most} scans of {width} × {height} pixels")
    return image


def _scans(content: bytes, most: int) -> int:
    """How many scans a JPEG has, as far as ``most`` and one more."""
    scans, at = 0, 2
    while scans <= most and (found := _MARKER.search(content, at)):
        at, kind = found.end(), found[1][0]
        scans += kind == _START_OF_SCAN
        if kind not in _WITHOUT_LENGTH:  # what is in a segment is no marker
            at += int.from_bytes(content[at : at + 2], "big")
    return scans


def _require_few_pieces(path: Path, content: bytes) -> None:
    """Bound the strips and tiles of a TIFF before Pillow makes an object for each of them."""
    order = "<" if content[:2] == b"II" else ">"
    if struct.unpack_from(order + "H", content, 2)[0] != 42:
        raise UnfitFile(path, "is a BigTIFF, which is not read")
    (place,) = struct.unpack_from(order + "I", content, 4)
    (entries,) = struct.unpack_from(order + "H", content, place)
    for number in range(entries):
        tag, _, count = struct.unpack_from(order + "HHI", content, place + 2 + 12 * number)
        if tag in _TIFF_OFFSETS and count > _MAX_PIECES:
            raise UnfitFile(path, f"has {count:,} strips or tiles")


def _require_usual_tiff(path: Path, image: Image.Image) -> None:
    packed = image.info.get("compression")
    if packed not in _TIFF_PACKED:
        raise UnfitFile(path, f"is a TIFF packed by {packed}; save it with LZW or deflate")
    width, height = (image.tag_v2.get(tag, 1) for tag in _TIFF_TILE_SIDES)  # type: ignore[attr-defined]
    if not isinstance(width, int) or not isinstance(height, int) or width * height > MAX_PIXELS:
        raise UnfitFile(path, f"has tiles of {width} × {height} pixels")
