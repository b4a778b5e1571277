"""How OpenCV, the toolboxes' loader, returns an image: its size, orientation and bits."""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from backbones.common.image_file import DECODING_ERRORS, header
from backbones.common.regular_file import UnfitFile

_BITS_PER_SAMPLE = 258  # tag of a TIFF
_ALIKE = ("JPEG", "MPO", "PNG")  # formats of which OpenCV and Pillow read the same files
_QUARTER = 5  # orientations from here on turn by a quarter


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image, 1 to 8; 1 means upright.

    Args:
        image: The image, not decoded yet, since Pillow rotates a TIFF while decoding.
    """
    if "exif" not in image.info and image.format != "TIFF":
        return 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            orientation = image.getexif().get(ExifTags.Base.Orientation)
    except DECODING_ERRORS:
        return 1  # damaged metadata has no effect
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


@cache
def turns(form: str) -> bool:
    """Whether the installed loader applies the EXIF orientation of a format.

    Args:
        form: Pillow's name of the format, such as ``"WEBP"``. Versions of OpenCV differ.
    """
    return _load(_turned("JPEG" if form == "MPO" else form)).shape == (2, 1, 3)


def _turned(form: str) -> bytes:
    """An image of 2 × 1 pixels that is shown turned by a quarter."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    file = io.BytesIO()
    Image.new("RGB", (2, 1)).save(file, form, exif=exif)
    return file.getvalue()


def loaded_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of the loaded image, in pixels."""
    width, height = image.size
    if orientation(image) < _QUARTER:
        return width, height
    reported_as_turned = image.format == "TIFF" and _pillow_turns_tiffs()
    if reported_as_turned == turns(image.format or ""):
        return width, height
    return height, width


@cache
def _pillow_turns_tiffs() -> bool:
    """Whether the installed Pillow reports the size of a TIFF as rotated; older ones do not."""
    return header(Path("turned.tif"), _turned("TIFF")).size == (1, 2)


def bits(image: Image.Image, content: bytes) -> int:
    """Bits per channel in an image's file; of 16 bits the loader keeps the upper 8."""
    if image.format == "PNG":
        return content[24]
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))  # type: ignore[attr-defined]
        return max(bits) if isinstance(bits, tuple) else bits
    return 8


def brightest(path: Path, content: bytes) -> int:
    """The highest value of the loaded image, 0 to 255.

    Raises:
        UnfitFile: The loader cannot read it.
    """
    return int(_loaded(path, content).max())


def require_loadable(path: Path, image: Image.Image, content: bytes) -> None:
    """Check that the loader can read what Pillow can.

    Raises:
        UnfitFile: It cannot, such as for floating-point TIFFs.
    """
    if image.format not in _ALIKE:
        _loaded(path, content)


def _loaded(path: Path, content: bytes) -> NDArray[np.uint8]:
    pixels = _load(content)
    if not pixels.size:
        raise UnfitFile(path, "cannot be loaded by OpenCV; save it as PNG with 8 bits per channel")
    return pixels


def _load(content: bytes) -> NDArray[np.uint8]:
    """The pixels from MMCV's default loader; empty if it returns nothing."""
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        pixels = None
    return np.zeros((0, 0, 3), np.uint8) if pixels is None else pixels.astype(np.uint8, copy=False)
