"""Readers of untrusted files: VOC annotations, images, masks.

Whatever the bytes are, a reader returns a value or raises a :class:`BadFile` that names the file,
within the limits below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backbones.common import image_file
from backbones.common.escape import brief
from backbones.common.regular_file import UnfitFile, read_bytes
from transfer.datasets import as_loaded

MAX_XML_BYTES = 1 << 20
"""Most bytes of an annotation: some 3,000 objects of 300 bytes each."""

_MAX_XML_DEPTH = 16
_MAX_COORDINATE = 10**6
_Read = TypeVar("_Read")
_SIDES = ("xmin", "ymin", "xmax", "ymax")


class BadFile(UnfitFile):
    """An unusable file of a data set.

    Args:
        path: The file.
        reason: Its fault, as the rest of a sentence that starts with its name.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.args = (
            f"'{path.absolute()}' {reason}; download it again, fix it or exclude it. "
            "'transfer check' lists all such files of a data set.",
        )


@dataclass(frozen=True)
class VocObject:
    """One object of an annotation.

    Attributes:
        name: Its class.
        box: xmin, ymin, xmax, ymax in pixels as in the file: from 1, both ends inside.
        difficult: Whether the devkit ignores it.
    """

    name: str
    box: tuple[int, int, int, int]
    difficult: bool = False

    @property
    def shorter_side(self) -> int:
        """In pixels, as in MMDetection: x2 - x1, one less than the pixels inside."""
        xmin, ymin, xmax, ymax = self.box
        return min(xmax - xmin, ymax - ymin)


@dataclass(frozen=True)
class VocAnnotation:
    """One VOC XML file.

    Attributes:
        width: Width of the image in pixels, from the file.
        height: Likewise.
        objects: In the file's order.
    """

    width: int
    height: int
    objects: list[VocObject] = field(default_factory=list)


def read_voc_xml(path: Path) -> VocAnnotation:
    """Read a VOC annotation.

    Fractional numbers, which VOC 2012 has, are truncated to integers like in MMDetection. Parts of
    a person (head, hand, foot) are skipped. Only plain elements are accepted: a document type, and
    with it every entity, is refused.

    Raises:
        BadFile: Not such a file, or beyond the module's limits.
    """
    collector = _Collector(path)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = collector.refuse_document_type
    parser.StartElementHandler = collector.start
    parser.EndElementHandler = collector.end
    parser.CharacterDataHandler = collector.text
    try:
        parser.Parse(read_file(path, MAX_XML_BYTES), True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise BadFile(path, f"is not well-formed XML ({error})") from error
    return collector.annotation()


class _Collector:
    """Collects the relevant elements while expat parses a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: list[str] = []
        self._text = ""
        self._size: dict[str, str] = {}
        self._objects: list[dict[str, str]] = []

    def refuse_document_type(self, name: str, *_: Any) -> None:
        raise BadFile(
            self._path, f"declares the document type '{brief(name)}', which could contain entities"
        )

    def start(self, name: str, _: dict[str, str]) -> None:
        self._open.append(name)
        self._text = ""
        if len(self._open) > _MAX_XML_DEPTH:
            raise BadFile(self._path, f"has more than {_MAX_XML_DEPTH} nested elements")
        if self._open[1:] == ["object"]:
            self._objects.append({})

    def text(self, text: str) -> None:
        self._text += text

    def end(self, _: str) -> None:
        match self._open[1:]:
            case ["size", ("width" | "height") as name]:
                self._size.setdefault(name, self._text)
            case ["object", ("name" | "difficult") as name]:
                self._objects[-1].setdefault(name, self._text)
            case ["object", "bndbox", name] if name in _SIDES:
                self._objects[-1].setdefault(name, self._text)
        self._open.pop()
        self._text = ""

    def annotation(self) -> VocAnnotation:
        width, height = (self._integer(self._size, side, "size") for side in ("width", "height"))
        if min(width, height) < 1:
            raise BadFile(self._path, f"gives its image the size {width} × {height}")
        return VocAnnotation(width, height, [self._object(found) for found in self._objects])

    def _object(self, found: dict[str, str]) -> VocObject:
        name = found.get("name", "").strip()
        if not name:
            raise BadFile(self._path, "has an object without a name")
        xmin, ymin, xmax, ymax = (self._integer(found, side, brief(name)) for side in _SIDES)
        return VocObject(name, (xmin, ymin, xmax, ymax), self._flag(found, "difficult"))

    def _integer(self, found: dict[str, str], key: str, where: str) -> int:
        if key not in found:
            raise BadFile(self._path, f"has no {key} in its {where}")
        try:
            number = int(float(found[key]))
        except (ValueError, OverflowError):
            number = _MAX_COORDINATE + 1
        if abs(number) > _MAX_COORDINATE:
            raise BadFile(self._path, f"has the {key} '{brief(found[key])}' in its {where}")
        return number

    def _flag(self, found: dict[str, str], key: str) -> bool:
        text = found.get(key, "0").strip()
        if text not in ("0", "1"):
            raise BadFile(self._path, f"has the flag {key} '{brief(text)}', which is not 0 or 1")
        return text == "1"


def check_image(path: Path) -> tuple[int, int, str]:
    """Decode a whole image.

    Returns:
        Width and height in pixels as the toolboxes load it (after an EXIF rotation), and
        Pillow's mode, such as ``"RGB"``, ``"L"`` for grey or ``"CMYK"``.

    Raises:
        BadFile: Missing, empty, truncated, of another format, or with too many pixels.
        UnfitFile: The toolboxes cannot load it.
    """
    content = read_file(path, image_file.MAX_BYTES)
    image = decode(path, content)
    as_loaded.require_loadable(path, image, content)
    width, height = as_loaded.loaded_size(image)
    return width, height, image.mode


def decode(path: Path, content: bytes) -> Image.Image:
    """Decode a whole image; arguments and errors as in :func:`check_image`."""
    return _named(path, lambda: image_file.decode(path, content))


def header(path: Path, content: bytes) -> Image.Image:
    """An image that is not decoded yet; errors as in :func:`check_image`."""
    return _named(path, lambda: image_file.header(path, content))


def _named(path: Path, read: Callable[[], _Read]) -> _Read:
    """The result of a reader, with advice for a data set's file in its errors."""
    try:
        return read()
    except UnfitFile as error:
        raise BadFile(path, error.reason) from error


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Read a mask of class indices.

    Returns:
        Shape (height, width), 0 to 255.

    Raises:
        BadFile: See :func:`check_image`; or not a lossless single channel of 8 bits.
    """
    content = read_file(path, image_file.MAX_BYTES)
    image = decode(path, content)
    _require_mask(path, header(path, content), content)
    return np.asarray(image)


def mask_size(path: Path) -> tuple[int, int]:
    """Width and height of a mask in pixels, from its header.

    Raises:
        BadFile: Not an image of a known format, or not a lossless single channel of 8 bits.
    """
    content = read_file(path, image_file.MAX_BYTES)
    image = header(path, content)
    _require_mask(path, image, content)
    return image.size


def _require_mask(path: Path, image: Image.Image, content: bytes) -> None:
    """Check that an image, not decoded yet, can hold exact class numbers."""
    packed = str(image.info.get("compression", ""))
    is_webp = _is_lossy_webp(content)
    if image.format in ("JPEG", "MPO") or "jpeg" in packed or is_webp:
        form = "WebP" if is_webp else "JPEG"
        raise BadFile(
            path,
            f"is a lossy {form}, whose values differ from the drawn ones; save the mask as PNG "
            "from its source",
        )
    if image.mode not in ("L", "P"):
        means = "colours" if image.mode.startswith(("RGB", "CMYK")) else "another kind of values"
        raise BadFile(
            path,
            f"has the mode {image.mode}, {means}; a mask has one channel of 8 bits with "
            "class numbers",
        )
    if image.mode == "L" and (depth := as_loaded.bits(image, content)) < 8:
        raise BadFile(path, f"is grey with {depth} bits, which are scaled to 8 when loaded")
    if as_loaded.orientation(image) != 1:
        raise BadFile(path, "has an EXIF rotation, which is not applied to masks when loaded")


def _is_lossy_webp(content: bytes) -> bool:
    """Whether a WebP has a chunk of lossy data; lossless data is in ``VP8L``."""
    return content[:4] == b"RIFF" and content[8:12] == b"WEBP" and b"VP8 " in content[12:]


def illegal_values(
    values: Iterable[int], classes: int, ignore_index: int, zero_is_ignored: bool
) -> list[int]:
    """The values of a mask that are neither a class nor ignored.

    Args:
        values: The distinct values of a mask.
        classes: Number of classes.
        ignore_index: The value of ignored pixels.
        zero_is_ignored: Whether the classes start at 1 and 0 is unlabelled.
    """
    highest = classes if zero_is_ignored else classes - 1
    return [value for value in values if value > highest and value != ignore_index]


def read_file(path: Path, most: int, may_be_empty: bool = False) -> bytes:
    """The bytes of a file.

    Args:
        path: The file.
        most: Limit of its size in bytes.
        may_be_empty: Whether an empty file is allowed.

    Raises:
        BadFile: Missing, empty, too long, or not a plain file.
    """
    try:
        content = _named(path, lambda: read_bytes(path, most))
    except FileNotFoundError as error:
        raise BadFile(path, "does not exist") from error
    except OSError as error:
        raise BadFile(path, f"could not be read ({error.strerror})") from error
    if not content and not may_be_empty:
        raise BadFile(path, "is empty")
    return content
