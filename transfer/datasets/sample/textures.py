"""Noise, surface patterns and the background materials of the sample.

Everything is float32. A *field* is an array of shape ``(height, width)`` with values in 0..1; a
*colour image* has shape ``(3, height, width)``, red first, nominally in 0..1, and a colour
``(3, 1, 1)``: planes, because arithmetic on them is several times as fast as on pixels.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""An array of float32."""
Pattern = Callable[[Array, Array], Array]
"""A surface pattern: object coordinates ``u`` and ``v`` (any equal shapes) to a field."""


def hsv(hue: float, saturation: float, value: float) -> Array:
    """Converts one colour from HSV.

    Args:
        hue: Any real number; only its fractional part counts.
        saturation: Clipped to 0..1.
        value: Clipped to 0..1.

    Returns:
        Red, green and blue in 0..1, shape ``(3, 1, 1)``.
    """
    rgb = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return np.array(rgb, np.float32)[:, None, None]


def random_colour(rng: np.random.Generator) -> Array:
    """Draws a surface colour, any hue, pale to vivid, dark to bright: ``(3, 1, 1)`` in 0..1."""
    return hsv(rng.random(), rng.uniform(0.1, 0.85), rng.uniform(0.25, 0.95))


def contrasting(rng: np.random.Generator, colour: Array) -> Array:
    """Draws a colour that a pattern on ``colour`` can be seen in; shape ``(3, 1, 1)`` in 0..1."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(float(c) for c in colour.flat))
    if rng.random() < 0.5:
        hue += rng.uniform(0.25, 0.75)
    step = rng.uniform(0.35, 0.6)
    return hsv(hue, saturation * rng.uniform(0.5, 1.3), value + (step if value < 0.55 else -step))


def bounded(low: float, x: Array, high: float) -> Array:
    """Does what :func:`numpy.clip` does, in half the time on arrays as small as these."""
    return np.maximum(np.minimum(x, np.float32(high)), np.float32(low))


def smoothstep(low: float, high: float, x: Array) -> Array:
    """Rises smoothly from 0 where ``x <= low`` to 1 where ``x >= high``."""
    t = bounded(0.0, (x - np.float32(low)) * np.float32(1.0 / (high - low)), 1.0)
    return t * t * (np.float32(3.0) - t - t)


def value_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cell: tuple[float, float],
    octaves: int = 3,
) -> Array:
    """Draws value noise: random grids, each twice as fine and half as strong as the last.

    Args:
        rng: Source of the grids.
        shape: Height and width of the field in pixels.
        cell: Height and width in pixels of a cell of the coarsest grid; unequal values stretch the
            noise into streaks.
        octaves: Number of grids.

    Returns:
        A field with mean near 0.5.
    """
    height, width = shape
    total: Array = np.zeros(shape, np.float32)
    gain, weight = 1.0, 0.0
    for octave in range(octaves):
        rows = int(height / max(cell[0] / 2**octave, 1.0)) + 2
        columns = int(width / max(cell[1] / 2**octave, 1.0)) + 2
        grid = rng.random((rows, columns), np.float32) * np.float32(gain)
        # Only large cells show whether they were joined smoothly.
        mode = cv2.INTER_CUBIC if octave == 0 else cv2.INTER_LINEAR
        layer: Array = cv2.resize(grid, (width, height), interpolation=mode)
        total += layer
        weight += gain
        gain *= 0.55
    return bounded(0.0, total * np.float32(1.0 / weight), 1.0)


def blend(first: Array, second: Array, field: Array) -> Array:
    """Mixes two colours, or two colour images, by a field: 0 gives ``first``, 1 ``second``."""
    return first + (second - first) * field


# --- Surface patterns of objects -----------------------------------------------------------------
# Each maker draws the parameters once and returns a function of object coordinates, so that the
# pattern turns and scales with the object it is on.


def stripes(rng: np.random.Generator, angle: float, period: float) -> Pattern:
    """Makes parallel stripes.

    Args:
        rng: Source of phase, softness and width.
        angle: Direction across the stripes in radians, 0 along ``u``.
        period: Distance between stripes in object units.
    """
    k = 2.0 * np.pi / period
    a, b = np.float32(k * np.cos(angle)), np.float32(k * np.sin(angle))
    phase, level = np.float32(rng.uniform(0, 2 * np.pi)), rng.uniform(-0.4, 0.4)
    return lambda u, v: smoothstep(level - 0.35, level + 0.35, np.sin(a * u + b * v + phase))


def dots(rng: np.random.Generator, period: float) -> Pattern:
    """Makes round dots on a staggered lattice whose rows are ``period`` object units apart."""
    radius = rng.uniform(0.24, 0.36)
    du, dv = (np.float32(x) for x in rng.random(2))

    def field(u: Array, v: Array) -> Array:
        row = np.floor(v / period + dv)
        x = u / period + du + 0.5 * (row % 2)
        distance = np.hypot(x - np.floor(x) - 0.5, v / period + dv - row - 0.5)
        return 1.0 - smoothstep(radius - 0.08, radius + 0.08, distance)

    return field


def checks(rng: np.random.Generator, period: float) -> Pattern:
    """Makes a checkerboard, at a random slant, with fields ``period / 2`` object units wide."""
    angle = rng.choice([0.0, np.pi / 4]) + rng.uniform(-0.1, 0.1)
    first = stripes(rng, angle, period)
    second = stripes(rng, angle + np.pi / 2, period)

    def field(u: Array, v: Array) -> Array:
        a, b = first(u, v), second(u, v)
        return a + b - 2.0 * a * b

    return field


def scales(rng: np.random.Generator, period: float, stretch: float = 1.0) -> Pattern:
    """Makes overlapping rounded scales, darker at their rims, as on fish, feathers and roof tiles.

    Args:
        rng: Source of the phase.
        period: Width of a scale in object units.
        stretch: Length of the visible part of a scale relative to half its width.
    """
    du, dv = (np.float32(x) for x in rng.random(2))
    step = period * 0.5 * stretch

    def field(u: Array, v: Array) -> Array:
        row = np.floor(v / step + dv)
        y = v / step + dv - row
        x = u / period + du + 0.5 * (row % 2)
        x = np.abs(2.0 * (x - np.floor(x)) - 1.0)
        # Below its rounded end a scale gives way to the two of the next row.
        own = x * x + y * y
        behind = (1.0 - x) ** 2 + (1.0 - y) ** 2
        return smoothstep(0.4, 0.95, np.where(own < 1.0, own, behind))

    return field


def blotches(rng: np.random.Generator, period: float) -> Pattern:
    """Makes irregular patches about ``period`` object units across."""
    tile = value_noise(rng, (64, 64), (16.0, 16.0), 2)
    factor = np.float32(16.0 / period)
    level = rng.uniform(0.45, 0.55)

    def field(u: Array, v: Array) -> Array:
        # Reflection at the tile's edges keeps the pattern continuous.
        x, y = u * factor + 32.0, v * factor + 32.0
        found = cv2.remap(tile, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        return smoothstep(level - 0.06, level + 0.06, found)

    return field


def zigzag(rng: np.random.Generator, period: float) -> Pattern:
    """Makes zigzag bands ``period`` object units apart."""
    phase = np.float32(rng.random())

    def field(u: Array, v: Array) -> Array:
        saw = np.abs(2.0 * (u / period - np.floor(u / period)) - 1.0)
        y = v / period + phase + 0.6 * saw
        return smoothstep(0.35, 0.6, np.abs(2.0 * (y - np.floor(y)) - 1.0))

    return field


def plain(u: Array, v: Array) -> Array:
    """A pattern without a mark: 0 everywhere."""
    return np.zeros_like(u)


def ornament(rng: np.random.Generator) -> Pattern:
    """Draws a pattern as on pottery and on clutter: any but scales, at times none."""
    period = rng.uniform(0.22, 0.5)
    kind = int(rng.integers(6))
    if kind == 0:
        return stripes(rng, rng.choice([0.0, np.pi / 2, np.pi / 4]), period)
    if kind == 1:
        return dots(rng, period)
    if kind == 2:
        return checks(rng, period)
    if kind == 3:
        return zigzag(rng, period)
    if kind == 4:
        return blotches(rng, 1.4 * period)
    return plain


# --- Background materials ------------------------------------------------------------------------


def sky(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Draws sky: a gradient from top to bottom under soft clouds, blue, dusky or grey."""
    mood = rng.random()
    if mood < 0.5:
        top, bottom = (hsv(rng.uniform(0.53, 0.66), s, rng.uniform(0.5, 1)) for s in (0.6, 0.25))
    elif mood < 0.8:
        top = hsv(rng.uniform(0.55, 0.9), rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.8))
        bottom = hsv(rng.uniform(0.0, 0.14), rng.uniform(0.3, 0.7), rng.uniform(0.6, 1.0))
    else:
        top = hsv(rng.random(), 0.08, rng.uniform(0.35, 0.75))
        bottom = hsv(rng.random(), 0.1, rng.uniform(0.5, 0.9))
    ramp = np.linspace(0.0, 1.0, shape[0], dtype=np.float32)[:, None]
    image = blend(top, bottom, np.broadcast_to(ramp, shape))
    size = rng.uniform(22, 60)
    clouds = value_noise(rng, shape, (0.6 * size, 1.4 * size), 4)
    low = rng.uniform(0.4, 0.6)
    cover = smoothstep(low, low + rng.uniform(0.12, 0.3), clouds) * rng.uniform(0.3, 0.9)
    return blend(image, hsv(rng.random(), 0.05, rng.uniform(0.7, 1.0)), cover.astype(np.float32))


def grass(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Draws grass: upright blades over patchy ground, green, dry or bluish."""
    hue = rng.choice([rng.uniform(0.2, 0.38), rng.uniform(0.08, 0.18), rng.uniform(0.38, 0.48)])
    saturation, value = rng.uniform(0.2, 0.75), rng.uniform(0.3, 0.65)
    blades = value_noise(rng, shape, (rng.uniform(9, 18), rng.uniform(2.2, 4.5)), 2)
    fine = value_noise(rng, shape, (5.0, 1.5), 1)
    patches = value_noise(rng, shape, (30.0, 40.0), 2)
    field = smoothstep(0.15, 0.85, 0.65 * blades + 0.35 * fine)
    dark = hsv(hue - 0.03, saturation, value * 0.45)
    light = hsv(hue + rng.uniform(-0.03, 0.06), saturation * 0.85, value * 1.5)
    return blend(dark, light, field) * (0.7 + 0.6 * patches)


def water(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Draws water: bent level ripples with glints, blue, green, grey or brown."""
    hue = rng.choice([rng.uniform(0.45, 0.65), rng.uniform(0.3, 0.45), rng.uniform(0.05, 0.15)])
    saturation, value = rng.uniform(0.1, 0.65), rng.uniform(0.3, 0.75)
    swell = value_noise(rng, shape, (16.0, 36.0), 2)
    chop = value_noise(rng, shape, (rng.uniform(3, 5), rng.uniform(16, 30)), 2)
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    ripples = np.sin(rows * np.float32(2 * np.pi / rng.uniform(5, 10)) + 9.0 * swell)
    field = 0.55 * chop + 0.22 * (ripples + 1.0)
    image = blend(
        hsv(hue, saturation, value * 0.6), hsv(hue, saturation * 0.7, value * 1.35), field
    )
    glint = smoothstep(0.68, 0.85, field) * np.float32(rng.uniform(0.2, 0.7))
    return blend(image, np.ones((3, 1, 1), np.float32), glint)


def brick(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Draws a wall of bricks in running bond, each brick of its own tone, red to grey."""
    course = rng.uniform(7, 13)
    length = course * rng.uniform(1.8, 2.8)
    tilt = np.float32(rng.uniform(-0.08, 0.08))
    y = np.arange(shape[0], dtype=np.float32)[:, None]
    x = np.arange(shape[1], dtype=np.float32)[None, :]
    x, y = x + tilt * y + np.float32(5.0), y - tilt * x + np.float32(course + 20.0)
    row = np.floor(y / course)
    along = x / length + 0.5 * (row % 2) + 2.0
    column = np.floor(along)
    tones = rng.random((64, 64), np.float32)[row.astype(np.intp) % 64, column.astype(np.intp) % 64]
    edge = np.minimum(
        np.minimum(y / course - row, row + 1.0 - y / course) * course,
        np.minimum(along - column, column + 1.0 - along) * length,
    )
    hue = rng.choice([rng.uniform(-0.03, 0.08), rng.random()], p=[0.7, 0.3])
    saturation, value = rng.uniform(0.08, 0.6), rng.uniform(0.35, 0.75)
    faces = blend(
        hsv(hue, saturation, 0.7 * value), hsv(hue + 0.03, saturation, 1.2 * value), tones
    )
    faces = faces * (0.75 + 0.5 * value_noise(rng, shape, (6.0, 6.0), 2))
    mortar = hsv(rng.uniform(0, 0.15), 0.12, rng.choice([0.25, 0.55, 0.8]) + rng.uniform(-0.1, 0.1))
    return blend(mortar, faces, smoothstep(0.3, 1.5, edge.astype(np.float32)))


MATERIALS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Array]] = {
    "brick": brick,
    "grass": grass,
    "sky": sky,
    "water": water,
}
"""Painter of each background class: generator and ``(height, width)`` to a colour image."""
