"""What surrounds the objects of a picture: light, background, clutter, and the camera."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from transfer.datasets.sample.canvas import (
    Canvas,
    Light,
    Sprite,
    ellipse,
    mix_paint,
    spline,
    strip,
)
from transfer.datasets.sample.classes import CLASSES, STUFF
from transfer.datasets.sample.textures import (
    MATERIALS,
    Array,
    bounded,
    ornament,
    smoothstep,
    value_noise,
)


def draw_light(rng: np.random.Generator) -> Light:
    """Draws the lamp, always somewhere above."""
    angle = rng.uniform(-0.85, -0.15) * np.pi
    direction = np.array([np.cos(angle), np.sin(angle)], np.float32)
    return Light(direction, rng.uniform(0.25, 0.8), max(0.0, rng.uniform(-0.1, 0.45)))


def draw_ground(
    rng: np.random.Generator, shape: tuple[int, int], regions: int, first: int | None = None
) -> tuple[Array, NDArray[np.uint8]]:
    """Draws the background: irregular regions, each of another material.

    Args:
        rng: Source of everything that is random.
        shape: Height and width in pixels.
        regions: Number of regions; one that is crowded out may leave no pixel.
        first: Index into ``STUFF`` of the first region's material; None for any.

    Returns:
        The colour image, and the value of each pixel's material in the segmentation.
    """
    height, width = shape
    y = np.broadcast_to(np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None], shape)
    x = np.broadcast_to(np.linspace(0.0, 0.8, width, dtype=np.float32)[None, :], shape)
    kinds = rng.permutation(len(STUFF))
    if first is not None:
        kinds = np.concatenate(([first], kinds[kinds != first]))
    kinds = kinds[:regions]
    natural = rng.random() < 0.75
    image = np.empty((3, *shape), np.float32)
    nearest = np.full(shape, np.inf, np.float32)
    owner = np.zeros(shape, np.uint8)
    for k, kind in enumerate(kinds):
        low, high = {"sky": (-0.2, 0.4), "brick": (0.0, 1.0)}.get(STUFF[kind], (0.55, 1.2))
        cy = rng.uniform(low, high) if natural else rng.random()
        cx = rng.uniform(-0.1, 1.1)
        distance: Array = cv2.magnitude(x - np.float32(0.8 * cx), y - np.float32(cy))
        distance += np.float32(0.5) * value_noise(rng, shape, (44.0, 44.0), 3)
        owner[distance < nearest] = k
        np.minimum(distance, nearest, out=nearest)
    for k, kind in enumerate(kinds):
        mine = owner == k
        x0, y0, columns, rows = cv2.boundingRect(mine.view(np.uint8))
        if columns:
            window = (slice(y0, y0 + rows), slice(x0, x0 + columns))
            material = MATERIALS[STUFF[kind]](rng, (rows, columns))
            # Duller than the objects before it.
            grey = material.mean(axis=(0, 1, 2), dtype=np.float32)
            material = grey + (material - grey) * np.float32(rng.uniform(0.4, 0.75))
            np.copyto(image[:, window[0], window[1]], material, where=mine[window])
    segmentation = (kinds[owner] + len(CLASSES) + 1).astype(np.uint8)
    return image, segmentation


def draw_clutter(rng: np.random.Generator, extent: float, light: Light) -> Sprite:
    """Draws something that is of no class: a pebble, shard, twig or hoop.

    Args:
        rng: Source of everything that is random.
        extent: Longer side in pixels.
        light: How the picture is lit.

    Returns:
        The sprite, its longer side ``extent`` pixels.
    """
    canvas = Canvas(extent, light, rng.uniform(0, 2 * np.pi))
    paint = mix_paint(rng, ornament(rng))
    kind = rng.integers(4)
    if kind == 0:
        turns = np.linspace(0, 2 * np.pi, int(rng.integers(5, 9)), endpoint=False)
        corners = [(r * np.cos(t), r * np.sin(t)) for t in turns for r in [rng.uniform(0.45, 0.95)]]
        canvas.part(spline(corners), paint)
    elif kind == 1:
        turns = np.sort(rng.uniform(0, 2 * np.pi, 3)) + np.array([0.0, 0.3, 0.6])
        shard = np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)
        canvas.part(shard, paint, 0.6)
    elif kind == 2:
        bend = [(-0.95, 0.0), *((x, rng.uniform(-0.3, 0.3)) for x in (-0.3, 0.3)), (0.95, 0.0)]
        canvas.part(strip(bend, rng.uniform(0.06, 0.3), rng.uniform(0.04, 0.15)), paint)
    else:
        sweep = np.linspace(0, rng.uniform(1.2, 1.9) * np.pi, 10)
        thick, squash = rng.uniform(0.1, 0.35), rng.uniform(0.5, 1.0)
        hoop = [(0.75 * np.cos(t), 0.75 * squash * np.sin(t)) for t in sweep]
        canvas.part(strip(hoop, thick, thick), paint)
        if rng.random() < 0.4:
            canvas.part(ellipse(0.5, 0.0, 0.35, 0.3), mix_paint(rng, ornament(rng)))
    return canvas.sprite(extent)


def expose(rng: np.random.Generator, image: Array) -> NDArray[np.uint8]:
    """Takes the photograph: uneven light, tint, haze, now and then blur, and sensor noise.

    Args:
        rng: Source of everything that is random.
        image: Colour image as it would be in even light.

    Returns:
        Colours, uint8 of shape ``(height, width, 3)``.
    """
    _, height, width = image.shape
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3)
    gain = 1.0 + np.float32(slope * np.cos(angle)) * x + np.float32(slope * np.sin(angle)) * y
    if rng.random() < 0.4:
        # The shadow of something outside the frame.
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(-0.6, 0.6)
        edge = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
        edge += np.float32(0.5) * value_noise(rng, (height, width), (30.0, 30.0), 2)
        gain *= 1.0 - np.float32(rng.uniform(0.2, 0.45)) * smoothstep(far, far + 0.2, edge)
    haze = rng.uniform(0.0, 0.15)
    tint = rng.uniform(0.9, 1.35) * rng.uniform(0.9, 1.1, (3, 1, 1)) * (1.0 - haze)
    image = image * gain * tint.astype(np.float32)
    image += np.float32(haze * rng.uniform(0.3, 0.8))
    if rng.random() < 0.4:
        blur = rng.uniform(0.3, 0.7)
        image = np.stack([cv2.GaussianBlur(plane, (0, 0), blur) for plane in image])
    image += np.float32(rng.uniform(0.005, 0.022)) * rng.standard_normal(image.shape, np.float32)
    whole = (bounded(0.0, image, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(whole.transpose(1, 2, 0))
