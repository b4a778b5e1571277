"""Masks of single objects, for detectors that also learn masks (Mask R-CNN)."""

from __future__ import annotations

import math
from typing import Any

_LONGEST = 1 << 22
"""Longest outline in pixels: drawing one takes memory for each of its pixels."""


def rectangle(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    """A box, in pixels, as one polygon."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def fault_of_mask(mask: Any, width: int, height: int) -> str:
    """Why a mask cannot be used, as the rest of a sentence; empty if it can.

    Args:
        mask: COCO's ``segmentation``: polygons, each a list of x, y, x, y, …, in pixels; or a table
            with ``size``, [height, width], and the run lengths ``counts``.
        width: Width of the image in pixels.
        height: Its height.
    """
    if isinstance(mask, dict):
        return _fault_of_runs(mask, width, height)
    if not isinstance(mask, list) or not all(isinstance(polygon, list) for polygon in mask):
        return "is neither polygons nor run lengths"
    return next(filter(None, map(_fault_of_polygon, mask)), "")


def _fault_of_runs(mask: dict[str, Any], width: int, height: int) -> str:
    if mask.get("size") != [height, width]:
        return f"states the size {mask.get('size')!r}, but the image has {[height, width]}"
    counts = mask.get("counts")
    if isinstance(counts, str):
        return ""
    if not isinstance(counts, list) or not all(type(c) is int and c >= 0 for c in counts):
        return "has no run lengths"
    covered = sum(counts)
    return "" if covered == width * height else f"covers {covered} pixels instead of all"


def _fault_of_polygon(polygon: list[Any]) -> str:
    if len(polygon) % 2 or len(polygon) < 6:
        return f"has a polygon of {len(polygon)} coordinates"
    if not all(type(c) in (int, float) and math.isfinite(c) for c in polygon):
        return "has coordinates that are not numbers"
    points = list(zip(polygon[::2], polygon[1::2], strict=True))
    length = sum(
        max(abs(x - a), abs(y - b))
        for (x, y), (a, b) in zip(points, [points[-1], *points], strict=False)
    )
    return "" if length <= _LONGEST else f"has an outline of {length:.0f} pixels"
