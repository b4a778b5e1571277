"""Reads untrusted images; time and memory are bounded before decoding starts.

The size in an image's header bounds the memory; the size times the scans of a progressive JPEG
bounds the time. Formats are listed explicitly, so that no decoder starts another program: Pillow
would pass an EPS file to Ghostscript.
"""

from __future__ import annotations

import re
import struct
import warnings
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageFile

from backbones.common.escape import brief
from backbones.common.regular_file import UnfitFile, read_bytes

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
"""Supported formats, by Pillow's names."""

MAX_BYTES = 1 << 28
"""Maximum size of an image file in bytes."""

MAX_PIXELS = 1 << 26
"""Maximum number of pixels by the header, 67 million; a large photograph has 24 million."""

MAX_SCANNED = 1 << 30
"""Maximum of pixels times scans of a JPEG; usual progressive JPEGs have about ten scans."""

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
"""Exceptions that Pillow's decoders raise on malformed images."""

_SLOW = "bmp_rle"  # Pillow decodes it in Python, with as many pixels as the header claims
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_START_OF_SCAN = 0xDA
_WITHOUT_LENGTH = {0x01, 0xD8, 0xD9}

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_CHUNKS = 1 << 17  # of a PNG; encoders write one for every 8 KiB or more

_TIFF_OFFSETS = (273, 324)  # of strips and of tiles
_TIFF_TILE_SIDES = (322, 323)
_MAX_PIECES = 1 << 16
_TIFF_PACKED = (None, "raw", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits")


def read_image(path: Path) -> Image.Image:
    """Decode an image file to its end.

    Returns:
        The image in the file's own mode, without the rotation that its EXIF data ask for.

    Raises:
        UnfitFile: Not a regular file, empty, too large, or as :func:`decode`.
        OSError: It cannot be opened.
    """
    return decode(path, read_content(path))


def require_bounded(path: Path) -> bytes:
    """Check that an image file is safe for other decoders, such as OpenCV and torchvision.

    Returns:
        The file's bytes.

    Raises:
        UnfitFile: Not a regular file, an unknown format, or too many pixels or scans.
        OSError: It cannot be opened.
    """
    content = read_content(path)
    header(path, content)
    return content


def decode(path: Path, content: bytes) -> Image.Image:
    """Decode the bytes of an image to their end.

    Args:
        path: Their file, for the error message.
        content: The bytes.

    Raises:
        UnfitFile: Truncated, not of :data:`FORMATS`, or with too many pixels or scans.
    """
    return loaded(path, header(path, content))


def loaded(path: Path, image: Image.Image) -> Image.Image:
    """Decode an image of :func:`header` to its end.

    Raises:
        UnfitFile: It is truncated or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata
            image.load()
    except DECODING_ERRORS as error:
        raise UnfitFile(path, f"does not decode ({brief(error)})") from error
    return image


def read_content(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        UnfitFile: Not a regular file, empty, or larger than :data:`MAX_BYTES`.
        OSError: It cannot be opened.
    """
    content = read_bytes(path, MAX_BYTES)
    if not content:
        raise UnfitFile(path, "is empty")
    return content


def header(path: Path, content: bytes) -> ImageFile.ImageFile:
    """An image whose header has been checked; nothing else is decoded yet.

    Args:
        path: Their file, for the error message.
        content: The bytes.

    Raises:
        UnfitFile: Not of :data:`FORMATS`, or with too many pixels or scans.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata; sizes are checked here
            if content.startswith(_PNG):
                _require_few_chunks(path, content)
            elif content[:4] in (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+"):
                _require_few_pieces(path, content)
            image = Image.open(BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise UnfitFile(
            path, f"has more than the {MAX_PIXELS:,} pixels that are allowed"
        ) from error
    except Image.UnidentifiedImageError as error:
        raise UnfitFile(
            path, f"is not an image of a known format ({', '.join(FORMATS)})"
        ) from error
    except DECODING_ERRORS as error:
        raise UnfitFile(path, f"does not decode ({brief(error)})") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise UnfitFile(path, f"has {width} × {height} pixels; at most {MAX_PIXELS:,} are allowed")
    if image.format == "TIFF":
        _require_usual_tiff(path, image)
    elif image.format == "BMP" and any(tile[0] == _SLOW for tile in image.tile):
        raise UnfitFile(path, "is a run-length encoded BMP, which takes seconds to decode")
    elif image.format in ("JPEG", "MPO"):
        most = MAX_SCANNED // (width * height)
        if _scans(content, most) > most:
            raise UnfitFile(path, f"has more than {most} scans of {width} × {height} pixels")
    return image


def _scans(content: bytes, most: int) -> int:
    """Number of scans of a JPEG, counted up to ``most`` + 1."""
    scans, at = 0, 2
    while scans <= most and (found := _MARKER.search(content, at)):
        at, kind = found.end(), found[1][0]
        scans += kind == _START_OF_SCAN
        if kind not in _WITHOUT_LENGTH:  # the content of a segment has no markers
            at += int.from_bytes(content[at : at + 2], "big")
    return scans


def _require_few_chunks(path: Path, content: bytes) -> None:
    """Limit the chunks of a PNG, each of which takes Pillow some microseconds and an object."""
    at = len(_PNG)
    for _ in range(_MAX_CHUNKS):
        if at + 4 > len(content):
            return
        at += 12 + int.from_bytes(content[at : at + 4], "big")
    raise UnfitFile(path, f"has more than {_MAX_CHUNKS:,} chunks")


def _require_few_pieces(path: Path, content: bytes) -> None:
    """Limit the strips and tiles of a TIFF before Pillow creates an object for each."""
    order = "<" if content[:2] == b"II" else ">"
    if struct.unpack_from(order + "H", content, 2)[0] != 42:
        raise UnfitFile(path, "is a BigTIFF, which is not supported")
    (place,) = struct.unpack_from(order + "I", content, 4)
    (entries,) = struct.unpack_from(order + "H", content, place)
    for number in range(entries):
        tag, _, count = struct.unpack_from(order + "HHI", content, place + 2 + 12 * number)
        if tag in _TIFF_OFFSETS and count > _MAX_PIECES:
            raise UnfitFile(path, f"has {count:,} strips or tiles")


def _require_usual_tiff(path: Path, image: ImageFile.ImageFile) -> None:
    packed = image.info.get("compression")
    if packed not in _TIFF_PACKED:
        raise UnfitFile(path, f"is a TIFF compressed by {packed}; save it with LZW or deflate")
    width, height = (image.tag_v2.get(tag, 1) for tag in _TIFF_TILE_SIDES)  # type: ignore[attr-defined]
    if not isinstance(width, int) or not isinstance(height, int) or width * height > MAX_PIXELS:
        raise UnfitFile(path, f"has tiles of {width} × {height} pixels")
