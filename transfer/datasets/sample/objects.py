"""The six figures of the sample.

A figure is recognised by its shape, parts and pattern together. No colour belongs to a class, and
no pattern to one class alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from transfer.datasets.sample.canvas import (
    Canvas,
    Light,
    Paint,
    Sprite,
    ellipse,
    flat,
    mix_paint,
    spline,
    strip,
)
from transfer.datasets.sample.textures import (
    Array,
    Pattern,
    blotches,
    checks,
    dots,
    hsv,
    ornament,
    plain,
    random_colour,
    scales,
    stripes,
)


def _polygon(*points: tuple[float, float]) -> Array:
    return np.array(points, np.float32)


def _box(x0: float, y0: float, x1: float, y1: float) -> Array:
    return _polygon((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def _eye(canvas: Canvas, x: float, y: float, radius: float) -> None:
    canvas.part(ellipse(x, y, radius, radius), flat(hsv(0.1, 0.1, 0.95)), 0)
    canvas.part(ellipse(x - 0.2 * radius, y, 0.6 * radius, 0.6 * radius), flat(hsv(0, 0, 0.08)), 0)


def _dark(rng: np.random.Generator) -> Paint:
    """Draws a dark paint, as of legs and feelers."""
    return flat(hsv(rng.random(), rng.uniform(0, 0.5), rng.uniform(0.08, 0.3)))


def beetle(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draws a beetle from above: legs, feelers, head, shield, striped or banded wing cases."""
    if rng.random() < 0.5:
        pattern = stripes(rng, 0.0, rng.uniform(0.18, 0.3))
    else:
        pattern = stripes(rng, np.pi / 2, rng.uniform(0.28, 0.45))
    width, reach = rng.uniform(0.36, 0.52), rng.uniform(0.3, 0.45)
    legs, skin = _dark(rng), mix_paint(rng, pattern)
    top = rng.uniform(-0.38, -0.25)
    for side in (-1, 1):
        for k, y in enumerate((-0.28, 0.12, 0.48)):
            bend = y + (-0.18, -0.02, 0.12)[k] + rng.uniform(-0.06, 0.06)
            foot = bend + (-0.14, 0.12, 0.22)[k]
            hip, knee, tip = 0.6 * width, width + 0.6 * reach, width + reach
            line = [(side * hip, y), (side * knee, bend), (side * tip, foot)]
            canvas.part(strip(line, 0.11, 0.05), legs, 0)
        end = (side * rng.uniform(0.2, 0.5), rng.uniform(-1.2, -1.0))
        canvas.part(strip([(side * 0.08, -0.7), (side * 0.22, -0.9), end], 0.07, 0.04), legs, 0)
    canvas.part(ellipse(0, -0.72, 0.22 + 0.12 * width, 0.18), legs)
    shield = mix_paint(rng) if rng.random() < 0.5 else legs
    canvas.part(ellipse(0, -0.48, 0.22 + 0.6 * width, 0.26), shield)
    cases = [(0.0, top - 0.1), (0.75 * width, top), (width, 0.15), (0.7 * width, 0.72)]
    cases += [(0.0, 0.95), *((-x, y) for x, y in cases[:0:-1])]
    canvas.part(spline(cases), skin)
    seam = flat(skin.base * np.float32(0.35))
    canvas.part(strip([(0, top - 0.1), (0, 0.3), (0, 0.95)], 0.05, 0.03), seam, 0)


def fish(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draws a fish from the side: scaled, banded or spotted body, tail, fins, gill and eye."""
    kind = rng.random()
    pattern: Pattern
    if kind < 0.65:
        rows = scales(rng, rng.uniform(0.22, 0.36))

        def pattern(u: Array, v: Array) -> Array:
            # Fish scales point along the body, to the tail.
            return rows(v, u)

    elif kind < 0.85:
        pattern = stripes(rng, 0.15, rng.uniform(0.28, 0.45))
    else:
        pattern = dots(rng, rng.uniform(0.2, 0.3))
    deep, tail = rng.uniform(0.3, 0.55), rng.uniform(0.4, 0.6)
    skin = mix_paint(rng, pattern)
    fins = mix_paint(rng, stripes(rng, rng.uniform(1.0, 2.0), 0.1))
    notch = rng.uniform(0.72, 0.9)
    canvas.part(spline([(0.5, 0), (1.02, -tail), (notch, 0), (1.02, tail)], steps=4), fins, 0.5)
    high = deep + rng.uniform(0.15, 0.35)
    canvas.part(
        spline([(-0.35, -0.8 * deep), (0.0, -high), (0.45, -0.8 * high), (0.4, -0.1)]), fins, 0.5
    )
    canvas.part(
        _polygon((-0.15, 0.7 * deep), (0.12, high), (0.32, high), (0.25, 0.5 * deep)), fins, 0.5
    )
    back = [(-0.75, -0.55 * deep), (-0.25, -deep), (0.3, -0.72 * deep), (0.68, -0.13)]
    body = spline([(-0.98, 0.0), *back, *((x, -y) for x, y in back[::-1])])
    canvas.part(body, skin)
    gill = rng.uniform(-0.5, -0.38)
    line = [(gill, -0.55 * deep), (gill + 0.12, 0), (gill, 0.55 * deep)]
    canvas.part(strip(line, 0.05, 0.05), flat(skin.base * np.float32(0.4)), 0)
    canvas.part(spline([(-0.2, 0.05), (0.12, -0.02), (0.14, 0.22)]), fins, 0.6)
    _eye(canvas, -0.68, -0.16 * deep - 0.05, rng.uniform(0.08, 0.12))


def bird(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draws a bird from the side: body, feathered wing, head, beak, tail and thin legs."""
    body, limbs = mix_paint(rng), flat(hsv(rng.uniform(0, 0.15), 0.6, rng.uniform(0.2, 0.8)))
    kind = rng.random()
    feathers = scales(rng, 0.26, 1.9) if kind < 0.6 else stripes(rng, rng.uniform(0.9, 1.3), 0.22)
    wing = mix_paint(rng, feathers)
    if rng.random() < 0.4:
        wing = Paint(body.base, body.accent, feathers)
    for x in (-0.05, 0.2):
        knee = x + rng.uniform(-0.05, 0.1)
        canvas.part(strip([(x, 0.3), (knee, 0.6), (x - 0.02, 0.92)], 0.08, 0.06), limbs, 0)
        canvas.part(
            strip([(x - 0.18, 0.95), (x - 0.02, 0.9), (x + 0.12, 0.95)], 0.05, 0.05), limbs, 0
        )
    droop, length = rng.uniform(-0.25, 0.35), rng.uniform(0.95, 1.15)
    canvas.part(strip([(0.35, 0.05), (0.7, 0.6 * droop), (length, droop)], 0.3, 0.22), wing, 0.7)
    hx, hy = rng.uniform(-0.66, -0.5), rng.uniform(-0.62, -0.42)
    point = (hx - rng.uniform(0.4, 0.62), hy + rng.uniform(0.0, 0.12))
    canvas.part(_polygon((hx - 0.1, hy - 0.12), point, (hx - 0.1, hy + 0.14)), limbs, 0.4)
    full = rng.uniform(0.34, 0.46)
    back = [(hx + 0.05, hy - 0.1), (-0.1, -0.36), (0.35, -0.24), (0.72, 0.02)]
    belly = [(0.35, 0.7 * full), (-0.1, full), (-0.5, 0.55 * full), (hx - 0.1, hy + 0.2)]
    chest = Paint(body.base, body.accent, ornament(rng) if rng.random() < 0.25 else plain)
    canvas.part(spline([*back, *belly]), chest)
    head = body if rng.random() < 0.5 else mix_paint(rng)
    canvas.part(ellipse(hx, hy, 0.25, 0.23), head)
    lift = rng.uniform(-0.2, 0.1)
    canvas.part(
        spline([(-0.32, -0.12), (0.15, -0.26), (0.85, lift), (0.3, 0.2), (-0.15, 0.16)]), wing
    )
    _eye(canvas, hx - 0.07, hy - 0.04, 0.075)


def flower(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draws a flower: streaked petals round a dotted or mottled disc, often on a leafy stem."""
    petals, x, y = int(rng.integers(5, 11)), 0.0, 0.0
    reach = 0.95
    if rng.random() < 0.55:
        green = flat(hsv(rng.uniform(0.15, 0.45), rng.uniform(0.3, 0.8), rng.uniform(0.25, 0.7)))
        x, y, reach = rng.uniform(-0.15, 0.15), -0.38, 0.62
        canvas.part(strip([(x, y), (0.08, 0.3), (0, 1.02)], 0.09, 0.1), green)
        side = rng.choice([-1, 1])
        leaf = [(0.03, 0.75), (side * 0.3, 0.4), (side * 0.58, 0.38), (side * 0.35, 0.68)]
        canvas.part(spline(leaf), green)
    skin = mix_paint(rng)
    start, core = rng.uniform(0, 2 * np.pi), rng.uniform(0.26, 0.42) * reach
    fat = rng.uniform(0.75, 1.15) * np.pi / petals * 0.62 * reach
    streak = rng.uniform(0.12, 0.2)
    for k in range(petals):
        t = start + 2 * np.pi * k / petals
        cx, cy = x + 0.58 * reach * np.cos(t), y + 0.58 * reach * np.sin(t)
        # Streaks run along the petal.
        streaks = Paint(skin.base, skin.accent, stripes(rng, t + np.pi / 2, streak))
        canvas.part(ellipse(cx, cy, 0.44 * reach, fat, turn=t), streaks)
    inner = dots(rng, 0.14) if rng.random() < 0.6 else blotches(rng, 0.15)
    canvas.part(ellipse(x, y, core, core), mix_paint(rng, inner))


def house(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draws a house: planked or plastered wall, tiled roof, door, windows, often a chimney."""
    wide, eaves, ridge = rng.uniform(0.6, 0.85), rng.uniform(-0.25, 0.05), rng.uniform(-1.0, -0.75)
    foot = rng.uniform(0.7, 0.95)
    if rng.random() < 0.6:
        left = rng.uniform(0.2, 0.4) * rng.choice([-1, 1])
        canvas.part(_box(left - 0.1, ridge - 0.1, left + 0.1, eaves), mix_paint(rng), 0.5)
    walls = (stripes(rng, np.pi / 2, 0.16), stripes(rng, 0.0, 0.2), checks(rng, 0.25), plain)
    wall = mix_paint(rng, walls[int(rng.integers(4))])
    canvas.part(_box(-wide, eaves - 0.1, wide, foot), wall, 0.5)
    gable, over = rng.uniform(0.0, 0.55), wide + rng.uniform(0.08, 0.2)
    tiles = scales(rng, 0.24, 1.2) if rng.random() < 0.6 else stripes(rng, np.pi / 2, 0.17)
    roof = _polygon((-over, eaves), (-gable, ridge), (gable, ridge), (over, eaves))
    canvas.part(roof, mix_paint(rng, tiles), 0.7)
    frame, glass = flat(random_colour(rng)), flat(hsv(0.6, 0.3, rng.choice([0.2, 0.85])))
    spots = [-0.55 * wide, 0.0, 0.55 * wide]
    door = int(rng.integers(3))
    low = eaves + 0.22 * (foot - eaves)
    for k, x in enumerate(spots):
        if k == door:
            canvas.part(_box(x - 0.14, foot - 0.5, x + 0.14, foot), mix_paint(rng), 0.4)
            continue
        high = low + 0.42 * (foot - eaves)
        canvas.part(_box(x - 0.15, low, x + 0.15, high), frame, 0)
        canvas.part(_box(x - 0.1, low + 0.05, x + 0.1, high - 0.05), glass, 0)
        canvas.part(_box(x - 0.02, low, x + 0.02, high), frame, 0)


def _handle(rng: np.random.Generator, x: float, y: float) -> Array:
    """Draws the ear of a mug, open in the middle, to the right of ``x``."""
    high, out, thick = rng.uniform(0.26, 0.4), rng.uniform(0.32, 0.48), rng.uniform(0.11, 0.17)
    bow = [(x - 0.1, y - high), (x + 0.7 * out, y - high), (x + out, y - 0.1 * high)]
    bow += [(x + 0.6 * out, y + 0.8 * high), (x - 0.1, y + high)]
    return strip(bow, thick, thick)


def mug(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draws a mug: ornamented straight or tapered body, round rim and one handle."""
    top, foot = rng.uniform(0.42, 0.62), rng.uniform(0.34, 0.6)
    tall, flatness = rng.uniform(0.55, 0.85), rng.uniform(0.16, 0.32)
    skin = mix_paint(rng, ornament(rng))
    glaze = flat(skin.base)
    canvas.part(_handle(rng, 0.5 * (top + foot) - 0.12, 0.05), glaze)
    t = np.linspace(0, np.pi, 14)
    arc = np.stack([foot * np.cos(t), tall + foot * flatness * np.sin(t)], axis=1) - (0.12, 0)
    rim = _polygon((-top - 0.12, -tall), (top - 0.12, -tall))
    canvas.part(np.concatenate([rim, arc.astype(np.float32)]), skin)
    canvas.part(ellipse(-0.12, -tall, top, top * flatness), glaze, 0.4)
    inside = flat(random_colour(rng) * np.float32(0.45))
    canvas.part(ellipse(-0.12, -tall, 0.86 * top, 0.8 * top * flatness), inside, 0)


FIGURES: dict[str, tuple[Callable[[Canvas, np.random.Generator], None], float]] = {
    "beetle": (beetle, 40.0),
    "bird": (bird, 18.0),
    "fish": (fish, 25.0),
    "flower": (flower, 25.0),
    "house": (house, 8.0),
    "mug": (mug, 18.0),
}
"""Drawing function and greatest turn in degrees, either way, of each class."""


def draw_object(rng: np.random.Generator, name: str, extent: float, light: Light) -> Sprite:
    """Draws one object.

    Args:
        rng: Source of everything that differs between objects of a class.
        name: A key of :data:`FIGURES`.
        extent: Longer side of the object in pixels.
        light: How the picture is lit.

    Returns:
        The sprite, its longer side ``extent`` pixels.
    """
    figure, limit = FIGURES[name]
    angle = np.deg2rad(rng.uniform(-limit, limit))
    stretch = (rng.choice([-1.0, 1.0]) * rng.uniform(0.85, 1.1), rng.uniform(0.85, 1.1))
    canvas = Canvas(extent, light, angle, stretch)
    figure(canvas, rng)
    return canvas.sprite(extent)
