"""Pictures of the sample: single objects and scenes, with boxes and masks of what is visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from transfer.datasets.sample.canvas import Light, Sprite
from transfer.datasets.sample.classes import CLASSES
from transfer.datasets.sample.objects import draw_object
from transfer.datasets.sample.surroundings import draw_clutter, draw_ground, draw_light, expose
from transfer.datasets.sample.textures import Array

Window = tuple[slice, slice]
"""Rows and columns of a part of an image."""

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


@dataclass(frozen=True, kw_only=True)
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


def _overlap(
    shape: tuple[int, int], size: tuple[int, ...], x: int, y: int
) -> tuple[Window, Window]:
    """Finds where a patch at ``(x, y)`` meets the frame: as a window of the frame, of the patch."""
    top, left = max(0, y), max(0, x)
    bottom, right = max(top, min(shape[0], y + size[0])), max(left, min(shape[1], x + size[1]))
    frame = (slice(top, bottom), slice(left, right))
    return frame, (slice(top - y, bottom - y), slice(left - x, right - x))


def draw_crop(rng: np.random.Generator, label: int) -> NDArray[np.uint8]:
    """Draws a picture of one object that fills most of the frame, or of one material.

    Args:
        rng: Source of everything that is random.
        label: Index into ``SEGMENTATION_CLASSES``: the object's class, or the material.

    Returns:
        Colours, uint8 of shape ``(64, 64, 3)``, red first.
    """
    shape = (CROP_SIDE, CROP_SIDE)
    light = draw_light(rng)
    if label >= len(CLASSES):
        image, _ = draw_ground(rng, shape, 1, label - len(CLASSES))
        _paste(image, [_strew(rng, shape, light, (8, 32)) for _ in range(rng.integers(4))], light)
        return expose(rng, image)
    image, _ = draw_ground(rng, shape, int(rng.integers(1, 3)))
    extent = CROP_SIDE * rng.uniform(0.58, 0.95)
    sprite = draw_object(rng, CLASSES[label], extent, light)
    # Near the middle: the object may wander over 70 % of the room that it leaves.
    room = CROP_SIDE - np.array(sprite.alpha.shape[::-1])
    x, y = np.round(room * rng.uniform(0.15, 0.85, 2)).astype(int)
    item = _Item(sprite, int(x), int(y), label)
    behind = [_strew(rng, shape, light, (10, 32)) for _ in range(rng.integers(3))]
    before = [_strew(rng, shape, light, (8, 0.4 * extent)) for _ in range(rng.random() < 0.25)]
    _paste(image, [*behind, item, *before], light)
    return expose(rng, image)


def draw_scene(rng: np.random.Generator, label: int) -> Scene:
    """Draws a scene of one to five objects among clutter.

    Args:
        rng: Source of everything that is random.
        label: Index of the class that the nearest object has, so that no class is missed out.

    Returns:
        The scene; the nearest object is wholly visible.
    """
    sides = (
        int(rng.integers(*SHORTER_SIDE, endpoint=True)),
        int(rng.integers(*LONGER_SIDE, endpoint=True)),
    )
    shape = sides if rng.random() < 0.7 else (sides[1], sides[0])
    light = draw_light(rng)
    image, segmentation = draw_ground(rng, shape, int(rng.integers(2, 5)))
    items, instances = _keep_visible(_arrange(rng, shape, label, light), shape)
    _paste(image, items, light)
    for item in items:
        if item.label is None:
            segmentation[item.mask(shape)] = 0
    for instance in instances:
        segmentation[cv2.dilate(instance.mask.view(np.uint8), np.ones((3, 3), np.uint8)) > 0] = 0
        segmentation[instance.mask] = instance.label + 1
    return Scene(expose(rng, image), segmentation, tuple(instances))


def _strew(
    rng: np.random.Generator,
    shape: tuple[int, int],
    light: Light,
    size: tuple[float, float],
) -> _Item:
    """Puts a piece of clutter anywhere, even partly outside the frame.

    Args:
        rng: Source of the piece and its place.
        shape: Height and width of the picture in pixels.
        light: How the picture is lit.
        size: Least and greatest longer side of the piece in pixels.
    """
    sprite = draw_clutter(rng, rng.uniform(*size), light)
    height, width = sprite.alpha.shape
    x, y = rng.integers(-width // 2, shape[1]), rng.integers(-height // 2, shape[0])
    return _Item(sprite, int(x), int(y), None)


def _place(
    rng: np.random.Generator,
    *,
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
        objects.append(_place(rng, sprite=sprite, shape=shape, label=mine, near=near, cut=cut))
    clutter = [_strew(rng, shape, light, (8, 64)) for _ in range(rng.integers(3, 8))]
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
            instances.append(
                Instance(
                    label=item.label,
                    mask=visible,
                    box=box,
                    truncated=truncated,
                    difficult=difficult,
                )
            )
        hidden |= mask
        kept.append(item)
    return kept[::-1], instances[::-1]


def _paste(image: Array, items: Sequence[_Item], light: Light) -> None:
    """Lays items, the farthest first, over a colour image; each throws a soft shadow."""
    shape = (image.shape[1], image.shape[2])
    for item in items:
        alpha = item.sprite.alpha
        reach = 2 + max(alpha.shape) // 10
        shadow: Array = cv2.copyMakeBorder(
            alpha, reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=0
        )
        shadow = cv2.blur(shadow, (reach, reach)) * np.float32(0.3 + 0.4 * light.contrast)
        shift = np.round(-0.8 * reach * light.direction).astype(int) - reach
        frame, own = _overlap(shape, shadow.shape, item.x + shift[0], item.y + shift[1])
        image[:, frame[0], frame[1]] *= 1.0 - shadow[own]
        frame, own = _overlap(shape, alpha.shape, item.x, item.y)
        target = image[:, frame[0], frame[1]]
        target *= 1.0 - alpha[own]
        target += item.sprite.colour[:, own[0], own[1]]
