"""Pictures of the sample: single objects and scenes, with boxes and masks of what is visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from transfer.datasets.sample.objects import draw_object
from transfer.datasets.sample.textures import (
    MATERIALS,
    Array,
    bounded,
    ornament,
    smoothstep,
    value_noise,
)

CROP_SIDE = 64
"""Height and width in pixels of a single-object picture."""
LONGER_SIDE = (192, 224)
SHORTER_SIDE = (136, 192)
"""Least and greatest sides of a scene in pixels."""
OBJECT_SIZE = (20.0, 120.0)
"""Least and greatest longer side of a scene's objects in pixels, before anything hides them."""
OBJECT_COUNT_ODDS = (0.2, 0.3, 0.25, 0.15, 0.1)
"""Odds of one, two, ... objects being put into a scene."""

LEAST_VISIBLE = 0.2
"""An object of which less than this share is in sight is left out."""
LEAST_SIDE = 10
"""So is one whose visible extent is less than this many pixels long."""
DIFFICULT_BELOW = 0.45
"""An object of which less than this share is in sight is marked difficult."""
TRUNCATED_BELOW = 0.95
"""One of which less than this share is in sight is marked truncated."""


@dataclass(frozen=True)
class Instance:
    """One object of a scene, as far as it is visible.

    Attributes:
        label: Index into :data:`~transfer.datasets.sample.classes.CLASSES`.
        mask: Its visible pixels, booleans of shape ``(height, width)``.
        box: First column, first row, last column and last row of these pixels, counted from 0.
        truncated: Whether the frame or something nearer hides a part of it.
        difficult: Whether most of it is hidden.
    """

    label: int
    mask: NDArray[np.bool_]
    box: tuple[int, int, int, int]
    truncated: bool
    difficult: bool


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it.

    Attributes:
        image: Colours, uint8 of shape ``(height, width, 3)``, red first.
        segmentation: Class of every pixel, uint8 of shape ``(height, width)``: index into
            ``SEGMENTATION_CLASSES`` plus 1, or 0 on clutter and along the borders of objects.
        instances: The objects from the farthest to the nearest.
    """

    image: NDArray[np.uint8]
    segmentation: NDArray[np.uint8]
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class _Item:
    """Something put into a picture: ``label`` is None for clutter, ``x``, ``y`` its corner."""

    sprite: Sprite
    x: int
    y: int
    label: int | None

    def mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Marks its pixels inside a frame of the given height and width."""
        full = np.zeros(shape, np.bool_)
        frame, own = _overlap(shape, self.sprite.alpha.shape, self.x, self.y)
        full[frame] = self.sprite.alpha[own] > 0.5
        return full


Window = tuple[slice, slice]


def _overlap(
    shape: tuple[int, int], size: tuple[int, ...], x: int, y: int
) -> tuple[Window, Window]:
    """Finds where a patch at ``(x, y)`` meets the frame: as a window of the frame, of the patch."""
    top, left = max(0, y), max(0, x)
    bottom, right = max(top, min(shape[0], y + size[0])), max(left, min(shape[1], x + size[1]))
    frame = (slice(top, bottom), slice(left, right))
    return frame, (slice(top - y, bottom - y), slice(left - x, right - x))


def draw_crop(rng: np.random.Generator, label: int) -> NDArray[np.uint8]:
    """Draws a picture of one object that fills most of the frame.

    Args:
        rng: Source of everything that is random.
        label: Index of the object's class.

    Returns:
        Colours, uint8 of shape ``(64, 64, 3)``, red first.
    """
    shape = (CROP_SIDE, CROP_SIDE)
    light = _draw_light(rng)
    image, _ = _draw_ground(rng, shape, int(rng.integers(1, 3)))
    extent = CROP_SIDE * rng.uniform(0.55, 0.95)
    sprite = draw_object(rng, CLASSES[label], extent, light)
    # Near the middle: the object may wander over 70 % of the room that it leaves.
    room = CROP_SIDE - np.array(sprite.alpha.shape[::-1])
    x, y = np.round(room * rng.uniform(0.15, 0.85, 2)).astype(int)
    item = _Item(sprite, int(x), int(y), label)
    behind = [_draw_clutter(rng, shape, light, (10, 32)) for _ in range(rng.integers(3))]
    before = [
        _draw_clutter(rng, shape, light, (8, 0.4 * extent)) for _ in range(rng.random() < 0.35)
    ]
    _paste(image, [*behind, item, *before], light)
    return _expose(rng, image)


def draw_scene(rng: np.random.Generator, label: int) -> Scene:
    """Draws a scene of one to five objects among clutter.

    Args:
        rng: Source of everything that is random.
        label: Index of the class that the nearest object has, so that no class is missed out.

    Returns:
        The scene; the nearest object is wholly visible.
    """
    sides = (int(rng.integers(*SHORTER_SIDE, endpoint=True)), int(rng.integers(*LONGER_SIDE)))
    shape = sides if rng.random() < 0.7 else (sides[1], sides[0])
    light = _draw_light(rng)
    image, segmentation = _draw_ground(rng, shape, int(rng.integers(2, 5)))
    items, instances = _keep_visible(_arrange(rng, shape, label, light), shape)
    _paste(image, items, light)
    for item in items:
        if item.label is None:
            segmentation[item.mask(shape)] = 0
    for instance in instances:
        segmentation[cv2.dilate(instance.mask.view(np.uint8), np.ones((3, 3), np.uint8)) > 0] = 0
        segmentation[instance.mask] = instance.label + 1
    return Scene(_expose(rng, image), segmentation, tuple(instances))


def _draw_light(rng: np.random.Generator) -> Light:
    """Draws the lamp, always somewhere above."""
    angle = rng.uniform(-0.85, -0.15) * np.pi
    direction = np.array([np.cos(angle), np.sin(angle)], np.float32)
    return Light(direction, rng.uniform(0.25, 0.8), max(0.0, rng.uniform(-0.1, 0.45)))


def _draw_ground(
    rng: np.random.Generator, shape: tuple[int, int], regions: int
) -> tuple[Array, NDArray[np.uint8]]:
    """Draws the background: irregular regions, each of another material.

    Args:
        rng: Source of everything that is random.
        shape: Height and width in pixels.
        regions: Number of regions; one that is crowded out may leave no pixel.

    Returns:
        The colour image, and the value of each pixel's material in the segmentation.
    """
    height, width = shape
    y = np.broadcast_to(np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None], shape)
    x = np.broadcast_to(np.linspace(0.0, 0.8, width, dtype=np.float32)[None, :], shape)
    kinds = rng.permutation(len(STUFF))[:regions]
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
            # Duller than what stands before it.
            grey = material.mean(axis=(0, 1, 2), dtype=np.float32)
            material = grey + (material - grey) * np.float32(rng.uniform(0.45, 0.85))
            np.copyto(image[:, window[0], window[1]], material, where=mine[window])
    segmentation = (kinds[owner] + len(CLASSES) + 1).astype(np.uint8)
    return image, segmentation


def _draw_clutter(
    rng: np.random.Generator,
    shape: tuple[int, int],
    light: Light,
    size: tuple[float, float],
) -> _Item:
    """Draws something that is of no class: a pebble, shard, twig or hoop, at any place.

    Args:
        rng: Source of everything that is random.
        shape: Height and width of the picture in pixels.
        light: How the picture is lit.
        size: Least and greatest longer side in pixels.
    """
    extent = rng.uniform(*size)
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
    sprite = canvas.sprite(extent)
    height, width = sprite.alpha.shape
    x, y = rng.integers(-width // 2, shape[1]), rng.integers(-height // 2, shape[0])
    return _Item(sprite, int(x), int(y), None)


def _place(
    rng: np.random.Generator,
    sprite: Sprite,
    shape: tuple[int, int],
    label: int,
    near: _Item | None,
    cut: float,
) -> _Item:
    """Puts an object somewhere.

    Args:
        rng: Source of the place.
        sprite: The object.
        shape: Height and width of the picture in pixels.
        label: Index of the object's class.
        near: Another object, to be close to; None for anywhere.
        cut: Share of its height and width by which the object may be outside the frame.
    """
    corner = []
    for axis in (1, 0):
        length = sprite.alpha.shape[axis]
        out = int(cut * length)
        low, high = -out, max(-out, shape[axis] - length + out)
        place = int(rng.integers(low, high, endpoint=True))
        if near is not None:
            size = near.sprite.alpha.shape[axis]
            middle = (near.x, near.y)[1 - axis] + (size - length) / 2
            place = round(middle + rng.uniform(-0.5, 0.5) * (size + length))
            place = min(max(place, low), high)
        corner.append(place)
    return _Item(sprite, corner[0], corner[1], label)


def _arrange(
    rng: np.random.Generator, shape: tuple[int, int], label: int, light: Light
) -> list[_Item]:
    """Draws the objects and the clutter of a scene, from the farthest to the nearest."""
    count = 1 + int(rng.choice(len(OBJECT_COUNT_ODDS), p=OBJECT_COUNT_ODDS))
    greatest = min(OBJECT_SIZE[1], 0.8 * min(shape))
    objects: list[_Item] = []
    for k in range(count):
        mine = int(rng.integers(len(CLASSES))) if k else label
        extent = float(np.exp(rng.uniform(np.log(OBJECT_SIZE[0]), np.log(greatest))))
        sprite = draw_object(rng, CLASSES[mine], extent, light)
        near = objects[int(rng.integers(k))] if k and rng.random() < 0.3 else None
        cut = rng.uniform(0.1, 0.6) if k and rng.random() < 0.25 else 0.0
        objects.append(_place(rng, sprite, shape, mine, near, cut))
    clutter = [_draw_clutter(rng, shape, light, (8, 64)) for _ in range(rng.integers(3, 8))]
    behind = max(0, len(clutter) - int(rng.integers(3)))
    between = [*objects[1:], *clutter[behind:]]
    order = rng.permutation(len(between))
    return [*clutter[:behind], *(between[i] for i in order), objects[0]]


def _keep_visible(
    items: Sequence[_Item], shape: tuple[int, int]
) -> tuple[list[_Item], list[Instance]]:
    """Leaves out the objects of which too little is in sight.

    Args:
        items: Everything in the picture, from the farthest to the nearest.
        shape: Height and width of the picture in pixels.

    Returns:
        The items that stay, and the objects among them, both from the farthest to the nearest.
    """
    hidden = np.zeros(shape, np.bool_)
    kept: list[_Item] = []
    instances: list[Instance] = []
    # From the nearest on, so that one that is left out hides nothing.
    for item in reversed(items):
        mask = item.mask(shape)
        if item.label is not None:
            visible = mask & ~hidden
            share = float(visible.sum() / (item.sprite.alpha > 0.5).sum())
            x, y, width, height = cv2.boundingRect(visible.view(np.uint8))
            if share < LEAST_VISIBLE or max(width, height) < LEAST_SIDE:
                continue
            box = (x, y, x + width - 1, y + height - 1)
            truncated, difficult = share < TRUNCATED_BELOW, share < DIFFICULT_BELOW
            instances.append(Instance(item.label, visible, box, truncated, difficult))
        hidden |= mask
        kept.append(item)
    return kept[::-1], instances[::-1]


def _paste(image: Array, items: Sequence[_Item], light: Light) -> None:
    """Lays items, the farthest first, over a colour image; each throws a soft shadow."""
    shape = (image.shape[1], image.shape[2])
    for item in items:
        alpha = item.sprite.alpha
        reach = 2 + max(alpha.shape) // 10
        shadow = np.pad(alpha, reach)
        shadow = cv2.blur(shadow, (reach, reach)) * np.float32(0.3 + 0.4 * light.contrast)
        shift = np.round(-0.8 * reach * light.direction).astype(int) - reach
        frame, own = _overlap(shape, shadow.shape, item.x + shift[0], item.y + shift[1])
        image[:, frame[0], frame[1]] *= 1.0 - shadow[own]
        frame, own = _overlap(shape, alpha.shape, item.x, item.y)
        target = image[:, frame[0], frame[1]]
        target *= 1.0 - alpha[own]
        target += item.sprite.colour[:, own[0], own[1]]


def _expose(rng: np.random.Generator, image: Array) -> NDArray[np.uint8]:
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
    image += np.float32(rng.uniform(0.005, 0.03)) * rng.standard_normal(image.shape, np.float32)
    whole = (bounded(0.0, image, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(whole.transpose(1, 2, 0))
