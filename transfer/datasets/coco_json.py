"""Reads COCO's annotation files as far as they have to be checked."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transfer.datasets.readers import BadFile, read_file

MAX_BYTES = 1 << 30
"""Most bytes of an annotation file; COCO's longest has 0.5 GB."""

Box = tuple[str, float, float, float, float]
"""A class's name; left, top, width and height in pixels, from 0."""


@dataclass(frozen=True)
class CocoImage:
    """One image of an annotation file.

    Attributes:
        name: Its file's name.
        width: In pixels, as the file says.
        height: Likewise.
        boxes: What is in it.
    """

    name: str
    width: int
    height: int
    boxes: list[Box] = field(default_factory=list)


def read_coco(path: Path) -> list[CocoImage]:
    """Read an annotation file.

    Raises:
        BadFile: Not such a file, or over :data:`MAX_BYTES`.
    """
    try:
        content = json.loads(read_file(path, MAX_BYTES))
    except (ValueError, RecursionError) as error:
        raise BadFile(path, f"is not JSON ({error})") from error
    try:
        names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        images = {entry["id"]: _image(entry) for entry in content["images"]}
        for entry in content["annotations"]:
            images[entry["image_id"]].boxes.append((names[entry["category_id"]], *_box(entry)))
        _require_ids(content["annotations"])
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadFile(path, f"is not in COCO's layout ({type(error).__name__}: {error})") from error
    return list(images.values())


def _image(entry: dict[str, Any]) -> CocoImage:
    return CocoImage(str(entry["file_name"]), int(entry["width"]), int(entry["height"]))


def _box(entry: dict[str, Any]) -> tuple[float, float, float, float]:
    left, top, width, height = (float(number) for number in entry["bbox"])
    if not all(map(math.isfinite, (left, top, width, height, float(entry["area"])))):
        raise ValueError("a box or its area is not finite")
    return left, top, width, height


def _require_ids(annotations: list[dict[str, Any]]) -> None:
    """Annotations are told apart by their ids, in pycocotools and MMDetection."""
    if len({entry["id"] for entry in annotations}) < len(annotations):
        raise ValueError("two annotations have the same id")
