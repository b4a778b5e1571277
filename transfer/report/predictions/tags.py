"""Names on a picture, placed without overlap."""

from __future__ import annotations

from collections.abc import Iterable

from PIL import ImageDraw

from transfer.report.predictions.colours import INK, Colour, ink_on
from transfer.report.predictions.lettering import TEXT, font
from transfer.report.predictions.side_by_side import Frame

TAG_HEIGHT = TEXT + 6


class Tags:
    """The names on one picture.

    Args:
        pen: Draws on the picture.
        size: Width and height of the picture in pixels.
    """

    def __init__(self, pen: ImageDraw.ImageDraw, size: tuple[int, int]) -> None:
        self.pen = pen
        self.width, self.height = size
        self._taken: list[Frame] = []

    def write(self, text: str, colour: Colour, places: Iterable[tuple[float, float]]) -> None:
        """Write a name at the first free place, or else at the first place.

        Args:
            text: The name.
            colour: Background colour of the name.
            places: Left and top corners in pixels, the best first; they are moved into the picture.
        """
        width = font(text).getlength(text) + 8
        frames = []
        for left, top in places:
            left = min(max(left, 0.0), max(self.width - width, 0.0))
            top = min(max(top, 0.0), max(self.height - TAG_HEIGHT, 0.0))
            frames.append((left, top, left + width, top + TAG_HEIGHT))
        free = (frame for frame in frames if not any(overlap(frame, t) for t in self._taken))
        frame = next(free, frames[0])
        self._taken.append(frame)
        self.pen.rectangle(frame, fill=colour, outline=INK)
        self.pen.text((frame[0] + 4, frame[1] + 2), text, ink_on(colour), font(text))


def overlap(one: Frame, other: Frame) -> bool:
    """Whether two frames overlap by more than an edge."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
