"""The likely format of boxes that are not x y width height."""

from __future__ import annotations

from collections.abc import Callable

from transfer.datasets.coco_json import Box, CocoFile, CocoImage

SLACK = 1.0
"""Tolerance in pixels beyond the image's edge: COCO's boxes are traced by hand and rounded."""

_SOME = 0.1  # share of boxes beyond their image that is not an accident
_MOST = 0.98  # share of boxes that must fit another format


def is_beyond(box: Box, size: tuple[int, int]) -> bool:
    """Whether a box extends beyond an image, given its width and height in pixels."""
    right, bottom = box.left + box.width, box.top + box.height
    return not _is_inside(box.left, box.top, right, bottom, size=size)


def likely_cause(file: CocoFile) -> str:
    """The likely cause of implausible boxes, in a sentence; empty if there is none."""
    boxes = [(box, image) for image in file.images for box in image.boxes]
    if not boxes:
        return ""
    if _share(boxes, _is_fraction) > _MOST:
        return (
            f"the {len(boxes):,} boxes look like fractions of their image's sides; COCO's are in "
            "pixels"
        )
    beyond = sum(is_beyond(box, (image.width, image.height)) for box, image in boxes)
    if beyond < _SOME * len(boxes):
        return ""
    problem = f"{beyond:,} of {len(boxes):,} boxes reach beyond their image: these look like"
    if _share(boxes, _is_corners) > _MOST:
        return f"{problem} x1 y1 x2 y2; COCO's are x y width height"
    if _share(boxes, _is_centred) > _MOST:
        return f"{problem} the centre, width and height; COCO's x y is the upper left corner"
    return ""


def _share(boxes: list[tuple[Box, CocoImage]], fits: Callable[[Box, CocoImage], bool]) -> float:
    return sum(fits(box, image) for box, image in boxes) / len(boxes)


def _is_fraction(box: Box, image: CocoImage) -> bool:
    sides = (box.left, box.top, box.width, box.height)
    return max(sides) <= 1 and min(sides) >= 0 and max(sides) > 0 and image.width > 1


def _is_corners(box: Box, image: CocoImage) -> bool:
    x1, y1, x2, y2 = box.left, box.top, box.width, box.height
    return x1 < x2 and y1 < y2 and _is_inside(x1, y1, x2, y2, size=(image.width, image.height))


def _is_centred(box: Box, image: CocoImage) -> bool:
    left, top = box.left - box.width / 2, box.top - box.height / 2
    right, bottom = left + box.width, top + box.height
    return _is_inside(left, top, right, bottom, size=(image.width, image.height))


def _is_inside(x1: float, y1: float, x2: float, y2: float, *, size: tuple[int, int]) -> bool:
    width, height = size
    return min(x1, y1) >= -SLACK and x2 <= width + SLACK and y2 <= height + SLACK
