"""Reads COCO's annotation files as far as they have to be checked."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from transfer.datasets.readers import BadFile, read_file

MAX_BYTES = 1 << 30
"""Most bytes of an annotation file; COCO's longest has 0.5 GB."""

_MARK = b"\xef\xbb\xbf"


class Box(NamedTuple):
    """One box of an annotation file.

    Attributes:
        name: Its class.
        left: In pixels, from 0, as are the next three.
        top: Likewise.
        width: Likewise.
        height: Likewise.
        area: As the file says: of the object's outline, in pixels.
        is_crowd: Whether it holds more than one object; such are not judged.
    """

    name: str
    left: float
    top: float
    width: float
    height: float
    area: float
    is_crowd: bool

    @property
    def is_passed_over(self) -> bool:
        """Whether MMDetection leaves it out of training: it has no area, or is under a pixel."""
        return self.area <= 0 or self.width < 1 or self.height < 1


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


@dataclass(frozen=True)
class CocoFile:
    """An annotation file.

    Attributes:
        images: In the file's order.
        classes: Names of its categories.
    """

    images: list[CocoImage]
    classes: frozenset[str]


def read_coco(path: Path) -> CocoFile:
    """Read an annotation file.

    Raises:
        BadFile: Not such a file as pycocotools and MMDetection can read, or over
            :data:`MAX_BYTES`.
    """
    text = read_file(path, MAX_BYTES)
    if text.startswith(_MARK):
        raise BadFile(path, "begins with a byte order mark; save it as plain UTF-8")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFile(path, f"is not JSON ({error})") from error
    try:
        names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        images = {entry["id"]: _image(entry) for entry in content["images"]}
        for entry in content["annotations"]:
            images[entry["image_id"]].boxes.append(_box(names[entry["category_id"]], entry))
        _require_ids(content["annotations"])
        _require_names(names.values())
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadFile(path, f"is not in COCO's layout ({type(error).__name__}: {error})") from error
    return CocoFile(list(images.values()), frozenset(names.values()))


def _image(entry: dict[str, Any]) -> CocoImage:
    width, height = (int(_number(entry[name])) for name in ("width", "height"))
    return CocoImage(str(entry["file_name"]), width, height)


def _box(name: str, entry: dict[str, Any]) -> Box:
    left, top, width, height = map(_number, entry["bbox"])
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise ValueError(f"'iscrowd' is {crowd!r}, which is neither 0 nor 1")
    return Box(name, left, top, width, height, _number(entry["area"]), bool(crowd))


def _number(value: Any) -> float:
    """What the toolboxes compute with as it stands."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} stands where a number must")
    return value


def _require_ids(annotations: list[dict[str, Any]]) -> None:
    """Annotations are told apart by their ids, in pycocotools and MMDetection."""
    if len({entry["id"] for entry in annotations}) < len(annotations):
        raise ValueError("two annotations have the same id")


def _require_names(names: Collection[str]) -> None:
    """The toolboxes find categories by name, and one of two."""
    if len(set(names)) < len(names):
        raise ValueError("two categories have the same name")
