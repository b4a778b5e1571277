"""How the toolboxes' loader, OpenCV, gives an image: its size, its turn, its bits."""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from backbones.common.image_file import DECODING_ERRORS, FORMATS
from backbones.common.regular_file import UnfitFile

_BITS_PER_SAMPLE = 258  # of a TIFF
_ALIKE = ("JPEG", "MPO", "PNG")  # formats of which OpenCV and Pillow read the same files
_QUARTER = 5  # orientations from here on turn by a quarter


def header(content: bytes) -> Image.Image:
    """An image of which nothing is decoded yet; the bytes are known to be within bounds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(io.BytesIO(content), formats=FORMATS)


def orientation(image: Image.Image) -> int:
    """How EXIF says an image is to be turned and mirrored, 1 to 8; 1 is not at all.

    Args:
        image: Not decoded yet: Pillow turns a TIFF as it decodes it.
    """
    if "exif" not in image.info and image.format != "TIFF":
        return 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told = image.getexif().get(ExifTags.Base.Orientation)
    except DECODING_ERRORS:
        return 1  # damaged metadata turn nothing
    return told if isinstance(told, int) and 1 <= told <= 8 else 1


@cache
def turns(form: str) -> bool:
    """Whether the loader of this installation turns images of a format as their EXIF says.

    Args:
        form: As Pillow calls it, such as ``"WEBP"``. Versions of OpenCV differ in the formats.
    """
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # by a quarter
    file = io.BytesIO()
    Image.new("RGB", (2, 1)).save(file, "JPEG" if form == "MPO" else form, exif=exif)
    return _load(file.getvalue()).shape == (2, 1, 3)


def loaded_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as the loader gives them, in pixels."""
    width, height = image.size
    if image.format == "TIFF" or orientation(image) < _QUARTER or not turns(image.format or ""):
        return width, height  # Pillow tells those of a TIFF after the turn
    return height, width


def bits(image: Image.Image, content: bytes) -> int:
    """Bits a channel of an image as its file has it; the loader cuts 16 to the upper 8."""
    if image.format == "PNG":
        return content[24]
    if image.format == "TIFF":
        told = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))  # type: ignore[attr-defined]
        return max(told) if isinstance(told, tuple) else told
    return 8


def brightest(path: Path, content: bytes) -> int:
    """The highest value of an image as the loader gives it, 0 to 255.

    Raises:
        UnfitFile: The loader cannot read it.
    """
    return int(_loaded(path, content).max())


def require_loadable(path: Path, image: Image.Image, content: bytes) -> None:
    """See that the loader can read what Pillow can.

    Raises:
        UnfitFile: It cannot, as TIFFs of floating-point numbers.
    """
    if image.format not in _ALIKE:
        _loaded(path, content)


def _loaded(path: Path, content: bytes) -> NDArray[np.uint8]:
    pixels = _load(content)
    if not pixels.size:
        raise UnfitFile(path, "cannot be loaded by OpenCV; save it as PNG with 8 bits a channel")
    return pixels


def _load(content: bytes) -> NDArray[np.uint8]:
    """What MMCV's default loader makes of a file; empty for nothing."""
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        pixels = None
    return np.zeros((0, 0, 3), np.uint8) if pixels is None else pixels.astype(np.uint8, copy=False)
