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
    contrasting,
    plain,
    random_colour,
)

WINDOW = 1.35
"""Half the side of the canvas in object units; figures keep inside it at any turn."""
DETAIL = 128
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
    """What a part is covered with: two colours, shape ``(3,)`` in 0..1, and a pattern of them."""

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


# --- Outlines: arrays of shape (points, 2) in object units, x right, y down ----------------------


def ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Array:
    """Outlines an ellipse centred at ``(x, y)``, turned by ``turn`` radians."""
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    a, b = rx * np.cos(t), ry * np.sin(t)
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
    t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[None, :, None]
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    curve = curve.reshape(-1, 2)
    return curve if closed else np.concatenate([curve, p[-2:-1]])


def strip(points: Sequence[tuple[float, float]], start: float, end: float) -> Array:
    """Outlines a band along a smooth curve, its width going from ``start`` to ``end``."""
    line = spline(points, closed=False)
    along = np.gradient(line, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-6
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
        scale = max(size, min(3.0 * size, DETAIL)) / 2.0
        side = int(np.ceil(2 * WINDOW * scale))
        self.light = light
        self.reduction = size / (2.0 * scale)
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, -s], [s, c]]) * scale
        self._matrix = (turn * np.asarray(stretch)).astype(np.float32)
        self._middle = np.float32(side / 2.0)
        inverse = np.linalg.inv(self._matrix)
        x = np.arange(side, dtype=np.float32) + 0.5 - self._middle
        self._u = inverse[0, 0] * x[None, :] + inverse[0, 1] * x[:, None]
        self._v = inverse[1, 0] * x[None, :] + inverse[1, 1] * x[:, None]
        self._colour = np.zeros((side, side, 3), np.float32)
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
        low = np.clip(np.floor(points.min(axis=0)).astype(int) - 1, 0, side - 1)
        high = np.clip(np.ceil(points.max(axis=0)).astype(int) + 2, low + 1, side)
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        stencil = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        # Sixteenths of a pixel; fillPoly takes pixel centres as whole numbers.
        fixed = np.round((points - low - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(stencil, [fixed], 255, cv2.LINE_AA, shift=4)
        mask = stencil * np.float32(1 / 255)
        if paint.pattern is plain:
            colour = np.broadcast_to(paint.base, (*mask.shape, 3))
        else:
            field = paint.pattern(self._u[window], self._v[window])
            colour = blend(paint.base, paint.accent, field)
        if relief:
            colour = self._shade(colour, mask, relief)
        target = self._colour[window]
        target += (colour - target) * mask[..., None]
        alpha = self._alpha[window]
        alpha += mask * (1.0 - alpha)

    def _shade(self, colour: Array, mask: Array, relief: float) -> Array:
        """Rounds a part: bright towards the lamp, dark away from it, with a highlight."""
        reach = max(3, int(0.45 * min(mask.shape)) | 1)
        # The blurred stencil serves as a height map that falls off towards the edge.
        padded = cv2.copyMakeBorder(mask, reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=0)
        height = cv2.blur(cv2.blur(padded, (reach, reach)), (reach, reach))
        x, y = (float(d) * reach * 0.5 for d in self.light.direction)
        facing = cv2.Sobel(height, -1, 1, 0, ksize=3, scale=-x / 4)
        facing += cv2.Sobel(height, -1, 0, 1, ksize=3, scale=-y / 4)
        inner = (slice(reach, -reach), slice(reach, -reach))
        facing, height = facing[inner], height[inner]
        contrast = relief * self.light.contrast
        shade = 1.0 + np.float32(2.2 * contrast) * facing
        shade -= np.float32(0.45 * contrast) * (1.0 - height)
        colour = colour * np.clip(shade, 0.25, 1.7)[..., None]
        if self.light.gloss:
            spot = np.clip(1.0 - np.abs(facing - 0.22) * 9.0, 0.0, 1.0) * np.clip(height, 0.0, 1.0)
            colour += (np.float32(relief * self.light.gloss) * spot * spot)[..., None]
        return colour

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
        premultiplied = np.clip(self._colour[window], 0.0, 1.0) * self._alpha[window][..., None]
        return Sprite(
            cv2.resize(premultiplied, size, interpolation=mode),
            cv2.resize(self._alpha[window], size, interpolation=mode),
        )
