"""Readers of strangers' files: VOC annotations, images, masks.

Whatever the bytes are, a reader gives a value or a :class:`BadFile` that names the file, within
the bounds below.
"""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backbones.common.escape import brief
from backbones.common.image_file import DECODING_ERRORS, FORMATS
from backbones.common.regular_file import UnfitFile
from transfer.datasets import as_loaded

_SLOW = "bmp_rle"  # Pillow decodes it in Python, as many pixels as a few bytes claim
MAX_PIXELS = 1 << 26
"""Most pixels of an image, 67 million, judged by its header; a large photograph has 24 million."""

MAX_IMAGE_BYTES = 1 << 28
"""Most bytes of an image file."""

MAX_XML_BYTES = 1 << 20
"""Most bytes of an annotation: some 3,000 objects, of 300 bytes each."""

_MAX_XML_DEPTH = 16
_MAX_COORDINATE = 10**6
_SIDES = ("xmin", "ymin", "xmax", "ymax")


class BadFile(UnfitFile):
    """A file of a data set that cannot be used.

    Args:
        path: The file.
        reason: What is wrong with it, as the rest of a sentence that starts with its name.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.args = (
            f"'{path.absolute()}' {reason}; fetch it again, mend it or leave it out. "
            "'transfer check' lists all such files of a data set.",
        )


@dataclass(frozen=True)
class VocObject:
    """One object of an annotation.

    Attributes:
        name: Its class.
        box: xmin, ymin, xmax, ymax in pixels as the file has them: from 1, both ends inside.
        difficult: Whether the devkit leaves it unjudged.
    """

    name: str
    box: tuple[int, int, int, int]
    difficult: bool = False

    @property
    def shorter_side(self) -> int:
        """In pixels, as MMDetection counts them: x2 - x1, one less than lie inside."""
        xmin, ymin, xmax, ymax = self.box
        return min(xmax - xmin, ymax - ymin)


@dataclass(frozen=True)
class VocAnnotation:
    """One VOC XML file.

    Attributes:
        width: Of the image, in pixels, as the file says.
        height: Likewise.
        objects: In the file's order.
    """

    width: int
    height: int
    objects: list[VocObject] = field(default_factory=list)


def read_voc_xml(path: Path) -> VocAnnotation:
    """Read a VOC annotation.

    Numbers with a fraction, which VOC 2012 has, are cut to whole ones as MMDetection does. Parts
    of a person (head, hand, foot) are passed over. Nothing but plain elements is accepted: a
    document type, and with it every entity, is refused.

    Raises:
        BadFile: Not such a file, or beyond the module's bounds.
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
    """Gathers the few elements that matter while expat walks through a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: list[str] = []
        self._text = ""
        self._size: dict[str, str] = {}
        self._objects: list[dict[str, str]] = []

    def refuse_document_type(self, name: str, *_: Any) -> None:
        raise BadFile(
            self._path, f"declares the document type '{brief(name)}', which could hide entities"
        )

    def start(self, name: str, _: dict[str, str]) -> None:
        self._open.append(name)
        self._text = ""
        if len(self._open) > _MAX_XML_DEPTH:
            raise BadFile(self._path, f"nests over {_MAX_XML_DEPTH} elements in one another")
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
    """Decode an image to its end.

    Returns:
        Width and height in pixels as the toolboxes load it (EXIF may turn it by a quarter), and
        Pillow's mode, such as ``"RGB"``, ``"L"`` for grey or ``"CMYK"``.

    Raises:
        BadFile: Missing, empty, cut short, of another format, or of over :data:`MAX_PIXELS`.
        UnfitFile: The toolboxes cannot load it.
    """
    content = read_file(path, MAX_IMAGE_BYTES)
    image = decode(path, content)
    as_loaded.require_loadable(path, image, content)
    width, height = as_loaded.loaded_size(image)
    return width, height, image.mode


def decode(path: Path, content: bytes) -> Image.Image:
    """Decode an image to its end; the arguments and errors are those of :func:`check_image`."""
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata, and of sizes that are judged here.
            warnings.simplefilter("ignore")
            image = Image.open(BytesIO(content), formats=FORMATS)
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BadFile(
                    path, f"has {width} × {height} pixels, over the {MAX_PIXELS:,} that are read"
                )
            if any(tile[0] == _SLOW for tile in image.tile):
                raise BadFile(path, "is a run-length coded BMP, which takes seconds to decode")
            image.load()
    except Image.DecompressionBombError as error:
        raise BadFile(path, f"has over the {MAX_PIXELS:,} pixels that are read") from error
    except Image.UnidentifiedImageError as error:
        raise BadFile(path, f"is no image of a known format ({', '.join(FORMATS)})") from error
    except DECODING_ERRORS as error:
        raise BadFile(path, f"does not decode ({brief(str(error))})") from error
    return image


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Read a mask of class indices.

    Returns:
        Shape (height, width), 0 to 255.

    Raises:
        BadFile: As :func:`check_image`, or not one channel of 8 bits without loss.
    """
    content = read_file(path, MAX_IMAGE_BYTES)
    image = decode(path, content)
    _require_mask(path, as_loaded.header(content), content)
    return np.asarray(image)


def mask_size(path: Path) -> tuple[int, int]:
    """Width and height of a mask in pixels, by its header.

    Raises:
        BadFile: No image of a known format, or not one channel of 8 bits without loss.
    """
    content = read_file(path, MAX_IMAGE_BYTES)
    try:
        image = as_loaded.header(content)
    except (*DECODING_ERRORS, Image.DecompressionBombError) as error:
        raise BadFile(path, f"does not decode ({brief(error)})") from error
    _require_mask(path, image, content)
    return image.size


def _require_mask(path: Path, image: Image.Image, content: bytes) -> None:
    """See that an image, of which nothing is decoded yet, can hold class numbers as drawn."""
    packed = str(image.info.get("compression", ""))
    is_webp = _is_lossy_webp(content)
    if image.format in ("JPEG", "MPO") or "jpeg" in packed or is_webp:
        form = "WebP" if is_webp else "JPEG"
        raise BadFile(
            path,
            f"is a lossy {form}, which has other numbers than were drawn; save the mask as PNG "
            "from its source",
        )
    if image.mode not in ("L", "P"):
        means = "colours" if image.mode.startswith(("RGB", "CMYK")) else "another kind of values"
        raise BadFile(
            path,
            f"has the mode {image.mode}, {means}; a mask has one channel of 8 bits with the "
            "class's number",
        )
    if image.mode == "L" and (depth := as_loaded.bits(image, content)) < 8:
        raise BadFile(
            path, f"is grey with {depth} bits, which are stretched to 8 as they are loaded"
        )
    if as_loaded.orientation(image) != 1:
        raise BadFile(
            path, "is to be turned by its EXIF data, which masks are not as they are loaded"
        )


def _is_lossy_webp(content: bytes) -> bool:
    """Whether a WebP has a chunk of lossy data; that of lossless data is ``VP8L``."""
    return content[:4] == b"RIFF" and content[8:12] == b"WEBP" and b"VP8 " in content[12:]


def illegal_values(
    values: Iterable[int], classes: int, ignore_index: int, zero_is_ignored: bool
) -> list[int]:
    """Those of a mask's values that are no class and not ignored.

    Args:
        values: The different values of a mask.
        classes: How many there are.
        ignore_index: The value that is not judged.
        zero_is_ignored: Whether the classes start at 1 and 0 is unlabelled.
    """
    highest = classes if zero_is_ignored else classes - 1
    return [value for value in values if value > highest and value != ignore_index]


def read_file(path: Path, most: int, may_be_empty: bool = False) -> bytes:
    """The bytes of a file.

    Args:
        path: The file.
        most: How many bytes it may have.
        may_be_empty: Whether it may have none.

    Raises:
        BadFile: Missing, empty, too long, or no plain file.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would wait for somebody to write to it
            raise BadFile(path, "is not a plain file")
        with path.open("rb") as file:
            content = file.read(min(status.st_size, most) + 1)  # that much is allocated at once
    except FileNotFoundError as error:
        raise BadFile(path, "does not exist") from error
    except (OSError, ValueError) as error:
        raise BadFile(path, f"could not be read ({error})") from error
    if not content and not may_be_empty:
        raise BadFile(path, "is empty")
    if len(content) > most:
        raise BadFile(path, f"has over the {most:,} bytes that are read")
    return content
