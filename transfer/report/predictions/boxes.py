"""Boxes on an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw

from transfer.report.predictions.colours import INK, Colour
from transfer.report.predictions.side_by_side import Boxes, Frame
from transfer.report.predictions.tags import TAG_HEIGHT, Tags

_DASH, _GAP = 8, 6
_RIM = 3


def boxes_on(
    image: Image.Image,
    *,
    boxes: Boxes,
    scale: float,
    classes: Sequence[str],
    colours: Mapping[int, Colour],
) -> Image.Image:
    """A copy of an image with boxes, names and scores; ignored boxes are dashed.

    Args:
        image: The enlarged image.
        boxes: Boxes in pixels of the original image.
        scale: Factor of the enlargement.
        classes: Names by label.
        colours: By label.
    """
    panel = image.copy()
    pen = ImageDraw.Draw(panel)
    tags = Tags(pen, panel.size)
    shown = [(box, _placed(box.frame, scale, panel.size)) for box in boxes.shown()]
    for box, frame in shown:
        _outline(pen, frame, colours[box.label], box.dashed)
    for box, frame in reversed(shown):  # the box with the best score is placed first
        tags.write(classes[box.label] + box.remark, colours[box.label], _places(frame))
    return panel


def _placed(frame: Frame, scale: float, size: tuple[int, int]) -> Frame:
    """A frame on the enlarged image, moved inwards by a line's width at the edge."""
    low, high = _RIM, (size[0] - _RIM, size[1] - _RIM)
    x1, x2 = (min(max(edge * scale, low), high[0]) for edge in frame[::2])
    y1, y2 = (min(max(edge * scale, low), high[1]) for edge in frame[1::2])
    return (x1, y1, x2, y2)


def _places(frame: Frame) -> Iterator[tuple[float, float]]:
    """Places for a name: above the box, inside from the top, then below."""
    x1, y1, _, y2 = frame
    yield x1, y1 - TAG_HEIGHT
    for top in np.arange(y1 + 3, y2 - TAG_HEIGHT, TAG_HEIGHT):
        yield x1 + 3, float(top)
    yield x1, y2


def _outline(pen: ImageDraw.ImageDraw, frame: Frame, colour: Colour, dashed: bool) -> None:
    """Draw a frame with a dark rim, visible on light and dark images."""
    x1, y1, x2, y2 = frame
    corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
    for ink, width in ((INK, 6), (colour, 3)):
        if not dashed:
            pen.line(corners, fill=ink, width=width, joint="curve")
            continue
        for start, end in pairwise(corners):
            for dash in _dashes(np.array(start), np.array(end)):
                pen.line(dash, fill=ink, width=width)


def _dashes(start: np.ndarray, end: np.ndarray) -> Iterator[list[tuple[float, float]]]:
    length = float(np.abs(end - start).max())
    for first in np.arange(0.0, length, _DASH + _GAP):
        ends = (first, min(first + _DASH, length))
        points = [start + (end - start) * place / length for place in ends]
        yield [(float(x), float(y)) for x, y in points]
