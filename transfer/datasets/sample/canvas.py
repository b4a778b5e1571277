"""Where an object is drawn: shaded, textured parts laid over one another at any turn and size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from transfer.datasets.sample.textures import (
    Array,
    Pattern,
    blend,
    bounded,
    contrasting,
    plain,
    random_colour,
)

WINDOW = 1.45
"""Half the side of the canvas in object units; figures keep inside it at any turn."""
DETAIL = 100
"""Pixels across two object units that small objects are drawn at before they are reduced."""


@dataclass(frozen=True)
class Light:
    """How a picture is lit.

    Attributes:
        direction: Unit vector in the image plane towards the lamp (x right, y down), shape
            ``(2,)``.
        contrast: Strength of light and shade on round parts, 0 for none.
        gloss: Strength of highlights, 0 for none.
    """

    direction: Array
    contrast: float
    gloss: float


@dataclass(frozen=True)
class Paint:
    """What a part is covered with: two colours, each ``(3, 1, 1)`` in 0..1, and a pattern."""

    base: Array
    accent: Array
    pattern: Pattern = plain


@dataclass(frozen=True)
class Sprite:
    """A drawn object, cut to its extent.

    Attributes:
        colour: Colour image, already multiplied by ``alpha``.
        alpha: Coverage, a field.
    """

    colour: Array
    alpha: Array


def mix_paint(rng: np.random.Generator, pattern: Pattern = plain) -> Paint:
    """Draws two contrasting colours for a pattern."""
    base = random_colour(rng)
    return Paint(base, contrasting(rng, base), pattern)


def flat(colour: Array) -> Paint:
    """Covers a part with a single colour."""
    return Paint(colour, colour)


_TURN = np.arange(28) * (2 * np.pi / 28)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)])

# --- Outlines: arrays of shape (points, 2) in object units, x right, y down ----------------------


def ellipse(x: float, y: float, rx: float, ry: float, *, turn: float = 0.0) -> Array:
    """Outlines an ellipse centred at ``(x, y)``, turned by ``turn`` radians."""
    a, b = rx * _CIRCLE[0], ry * _CIRCLE[1]
    c, s = np.cos(turn), np.sin(turn)
    return np.stack([x + c * a - s * b, y + s * a + c * b], axis=1).astype(np.float32)


def spline(points: Sequence[tuple[float, float]], closed: bool = True, steps: int = 6) -> Array:
    """Draws a smooth (Catmull-Rom) curve through points.

    Args:
        points: At least two points.
        closed: Whether the curve returns to its first point.
        steps: Points of the curve for each given one.

    Returns:
        The curve, shape ``(n, 2)``.
    """
    p = np.asarray(points, np.float32)
    if closed:
        p = np.concatenate([p[-1:], p, p[:2]])
    else:
        p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = (np.arange(steps, dtype=np.float32) / np.float32(steps))[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-2:-1]])


def strip(points: Sequence[tuple[float, float]], start: float, end: float) -> Array:
    """Outlines a band along a smooth curve, its width going from ``start`` to ``end``."""
    line = spline(points, closed=False)
    along = np.empty_like(line)
    along[1:-1] = line[2:] - line[:-2]
    along[0], along[-1] = line[1] - line[0], line[-1] - line[-2]
    normal = along[:, ::-1] * np.array((-1.0, 1.0), np.float32)
    normal /= np.sqrt((normal * normal).sum(axis=1, keepdims=True)) + np.float32(1e-6)
    half = np.linspace(start / 2, end / 2, len(line), dtype=np.float32)[:, None] * normal
    return np.concatenate([line + half, (line - half)[::-1]])


class Canvas:
    """A transparent square on which a figure lays its parts, each over the ones before."""

    def __init__(
        self,
        size: float,
        light: Light,
        angle: float = 0.0,
        stretch: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """Prepares the square and the object coordinates of its pixels.

        Args:
            size: Pixels across two object units in the final image.
            light: How the object is lit; shared by all objects of a picture.
            angle: Turn of the object in radians, clockwise.
            stretch: Factors along ``u`` and ``v``; a negative one mirrors the object.
        """
        scale = max(size, min(2.5 * size, DETAIL)) / 2.0
        side = int(np.ceil(2 * WINDOW * scale))
        self.light = light
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, -s], [s, c]]) * scale
        self._matrix = (turn * np.asarray(stretch)).astype(np.float32)
        self._middle = np.float32(side / 2.0)
        inverse = np.linalg.inv(self._matrix)
        x = np.arange(side, dtype=np.float32) + 0.5 - self._middle
        self._u = inverse[0, 0] * x[None, :] + inverse[0, 1] * x[:, None]
        self._v = inverse[1, 0] * x[None, :] + inverse[1, 1] * x[:, None]
        self._colour = np.zeros((3, side, side), np.float32)
        self._alpha = np.zeros((side, side), np.float32)

    def part(self, outline: Array, paint: Paint, relief: float = 1.0) -> None:
        """Lays one part over what is there.

        Args:
            outline: Closed outline in object units, shape ``(n, 2)``.
            paint: What covers it.
            relief: How round the part looks, 0 for a flat mark.
        """
        points = outline @ self._matrix.T + self._middle
        side = len(self._alpha)
        low = [min(max(int(p) - 1, 0), side - 1) for p in points.min(axis=0)]
        high = [
            min(max(int(p) + 3, o + 1), side) for p, o in zip(points.max(axis=0), low, strict=True)
        ]
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        stencil = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        # Sixteenths of a pixel; fillPoly takes pixel centres as whole numbers.
        fixed = np.round((points - low - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(stencil, [fixed], 255, cv2.LINE_AA, shift=4)
        mask = stencil * np.float32(1 / 255)
        if paint.pattern is plain:
            colour = np.broadcast_to(paint.base, (3, *mask.shape))
        else:
            field = paint.pattern(self._u[window], self._v[window])
            colour = blend(paint.base, paint.accent, field)
        if relief:
            colour = self._shade(colour, mask, relief)
        target = self._colour[:, window[0], window[1]]
        target += (colour - target) * mask
        alpha = self._alpha[window]
        alpha += mask * (1.0 - alpha)

    def _shade(self, colour: Array, mask: Array, relief: float) -> Array:
        """Rounds a part: bright towards the lamp, dark away from it, with a highlight."""
        reach = max(3, int(0.45 * min(mask.shape)) | 1)
        # The blurred stencil serves as a height map that falls off towards the edge.
        height: Array = mask
        for _ in range(3):
            height = cv2.blur(height, (reach, reach), borderType=cv2.BORDER_CONSTANT)
        x, y = (float(d) * reach / 7.0 for d in self.light.direction)
        across: Array = cv2.Sobel(height, -1, 1, 0, scale=-x, borderType=cv2.BORDER_CONSTANT)
        facing = across + cv2.Sobel(height, -1, 0, 1, scale=-y, borderType=cv2.BORDER_CONSTANT)
        contrast = relief * self.light.contrast
        shade = 1.0 + np.float32(2.2 * contrast) * facing
        shade -= np.float32(0.45 * contrast) * (1.0 - height)
        colour = colour * bounded(0.25, shade, 1.7)
        if self.light.gloss and min(mask.shape) >= 12:
            colour += np.float32(relief * self.light.gloss) * self._spot(mask.shape)
        return colour

    def _spot(self, shape: tuple[int, ...]) -> Array:
        """Draws a round highlight between the middle of a part and its lit edge; a field."""
        squares = []
        for length, towards in zip(shape[:2], self.light.direction[::-1], strict=True):
            place = np.arange(length, dtype=np.float32) * np.float32(2.0 / length)
            place -= np.float32(1.0 + 0.4 * towards)
            squares.append((place * np.float32(length / (0.35 * min(shape)))) ** 2)
        return np.exp(-squares[0])[:, None] * np.exp(-squares[1])[None, :]

    def sprite(self, extent: float) -> Sprite:
        """Cuts the drawing out and reduces it.

        Args:
            extent: Longer side of the finished sprite in pixels.

        Returns:
            The sprite; its longer side is ``extent`` pixels, rounded.
        """
        x, y, width, height = cv2.boundingRect((self._alpha > 0.3).astype(np.uint8))
        window = (slice(y, y + height), slice(x, x + width))
        factor = extent / max(width, height)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        mode = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        alpha = self._alpha[window]
        # What is laid over nothing but black is as good as multiplied by its coverage.
        planes = bounded(0.0, self._colour[:, window[0], window[1]], 1.0)
        colour = np.stack([cv2.resize(plane, size, interpolation=mode) for plane in planes])
        return Sprite(colour, cv2.resize(alpha, size, interpolation=mode))
