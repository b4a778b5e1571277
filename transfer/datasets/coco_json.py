"""Reads COCO annotation files, and reports all their faults at once."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from backbones.common.escape import brief
from backbones.common.json_file import load_text
from transfer.datasets.readers import BadFile, read_file

MAX_BYTES = 1 << 30
"""Most bytes of an annotation file; COCO's longest has 0.5 GB."""

_MAX_VALUES = 1 << 27
"""Most values of an annotation file, each of up to 64 bytes once read; COCO has some 70 million."""


_MOST_FAULTS = 100_000


class Box(NamedTuple):
    """One box of an annotation file.

    Attributes:
        name: Its class.
        left: In pixels, from 0, like the next three.
        top: Likewise.
        width: Likewise.
        height: Likewise.
        area: Area of the object's outline from the file, in pixels.
        is_crowd: Whether it contains more than one object; such boxes are ignored.
        is_ignored: Whether the file excludes it from training.
    """

    name: str
    left: float
    top: float
    width: float
    height: float
    area: float
    is_crowd: bool
    is_ignored: bool = False

    @property
    def is_passed_over(self) -> bool:
        """Whether MMDetection skips it in training: no area, under a pixel, or ``ignore``."""
        return self.is_ignored or self.area <= 0 or self.width < 1 or self.height < 1


@dataclass(frozen=True)
class CocoImage:
    """One image of an annotation file.

    Attributes:
        name: Its file's name.
        width: In pixels, from the file.
        height: Likewise.
        boxes: Its boxes.
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
        faults: Unusable entries, as sentences without the file's name.
        orphans: Annotations of images that the file does not list, likewise.
    """

    images: list[CocoImage]
    classes: frozenset[str]
    faults: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()


def read_coco(path: Path) -> CocoFile:
    """Read an annotation file.

    Raises:
        BadFile: Not such a file at all, over :data:`MAX_BYTES`, or with very many faults. Faults
            of single entries are in :attr:`CocoFile.faults`.
    """
    content = load_json(path)
    faults = _Faults(path)
    categories = _categories(content["categories"], faults)
    images = _images(content["images"], faults)
    orphans: list[str] = []
    used: set[Hashable] = set()
    ids: set[Hashable] = set()
    for place, entry in enumerate(content["annotations"], 1):
        what = _name_of(entry, "annotation", place)
        try:
            _require_entry(entry, ids)
            image, category = entry["image_id"], entry["category_id"]
            if isinstance(category, Hashable):
                used.add(category)
            if not isinstance(category, Hashable) or category not in categories:
                raise _Fault(f"names the category {_short(category)}, which the file lacks")
            box = _box(categories[category], entry)
        except _Fault as fault:
            faults.append(f"{what} {fault}")
            continue
        if isinstance(image, Hashable) and image in images:
            images[image].boxes.append(box)
        elif (twin := _of_another_type(image, images)) is not None:
            problem = f"names the image {_short(image)}, which the file lists as {_short(twin)}"
            faults.append(f"{what} {problem}: strings and numbers differ")
        else:
            orphans.append(f"{what} names the image {_short(image)}")
    faults[:0] = _shifted(used, categories)
    return CocoFile(
        list(images.values()), frozenset(categories.values()), tuple(faults), tuple(orphans)
    )


def load_json(path: Path) -> dict[str, list[Any]]:
    """The three lists of an annotation file, with unchecked entries.

    Raises:
        BadFile: Not JSON, without one of the lists, or over :data:`MAX_BYTES`.
    """
    text = read_file(path, MAX_BYTES)
    if sum(map(text.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        raise BadFile(path, f"holds over {_MAX_VALUES:,} values")
    try:
        content = load_text(text)  # accepts a byte order mark
    except (ValueError, RecursionError) as error:
        raise BadFile(path, f"is not JSON ({brief(str(error))})") from error
    for name in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise BadFile(path, f"is not in COCO's layout: the list '{name}' is missing")
    return content


class _Faults(list[str]):
    """Sentences about entries, up to a number after which the file as a whole is none.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def append(self, fault: str) -> None:
        super().append(fault)
        if len(self) > _MOST_FAULTS:
            what = f"has over {_MOST_FAULTS:,} entries that cannot be used"
            raise BadFile(self._path, f"{what}; the first: {self[0]}")


class _Fault(ValueError):
    """The fault of one entry, as the rest of a sentence that starts with it."""


def _categories(entries: list[Any], faults: list[str]) -> dict[Hashable, str]:
    """Names by id; the toolboxes look up categories by both."""
    found: dict[Hashable, str] = {}
    names: set[str] = set()
    for place, entry in enumerate(entries, 1):
        what = _name_of(entry, "category", place)
        try:
            _require_keys(entry, "id", "name")
            number, name = _id(entry), str(entry["name"])
            if number in found:
                raise _Fault(f"'{brief(name)}' has the id of the category '{brief(found[number])}'")
            if name in names:
                raise _Fault(f"has the name of another category, '{brief(name)}'")
        except _Fault as fault:
            faults.append(f"{what} {fault}")
            continue
        found[number] = name
        names.add(name)
    return found


def _images(entries: list[Any], faults: list[str]) -> dict[Hashable, CocoImage]:
    """The images by id."""
    found: dict[Hashable, CocoImage] = {}
    for place, entry in enumerate(entries, 1):
        what = _name_of(entry, "image", place)
        try:
            _require_keys(entry, "id", "file_name", "width", "height")
            number, name = _id(entry), str(entry["file_name"])
            width, height = (int(_number(entry, key)) for key in ("width", "height"))
            if number in found:
                raise _Fault(f"'{brief(name)}' has the id of the image '{found[number].name}'")
        except _Fault as fault:
            faults.append(f"{what} {fault}")
            continue
        found[number] = CocoImage(name, width, height)
    return found


def _require_entry(entry: Any, ids: set[Hashable]) -> None:
    """Check that ids are unique, since pycocotools and MMDetection identify annotations by them."""
    _require_keys(entry, "id", "image_id", "category_id", "bbox", "area")
    number = _id(entry)
    if number in ids:
        raise _Fault("has the id of another annotation")
    ids.add(number)


def _box(name: str, entry: dict[str, Any]) -> Box:
    numbers = entry["bbox"]
    if not isinstance(numbers, list):
        raise _Fault(f"has the bbox {_short(numbers)}, which is not a list of 4 numbers")
    if len(numbers) != 4:
        raise _Fault(f"has a bbox of {len(numbers)} numbers instead of 4")
    left, top, width, height = (_finite(number, "in its bbox") for number in numbers)
    if width < 0 or height < 0:
        raise _Fault(f"has a bbox of negative size, {_short(numbers)}: x y width height")
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise _Fault(f"has the iscrowd {_short(crowd)}, which is neither 0 nor 1")
    area, ignored = _number(entry, "area"), bool(entry.get("ignore"))
    return Box(
        name=name,
        left=left,
        top=top,
        width=width,
        height=height,
        area=area,
        is_crowd=bool(crowd),
        is_ignored=ignored,
    )


def _require_keys(entry: Any, *keys: str) -> None:
    if not isinstance(entry, dict):
        raise _Fault("is not a JSON object")
    if missing := [key for key in keys if key not in entry]:
        outline = "bbox" in missing and entry.get("segmentation")
        hint = "; compute it from the 'segmentation'" if outline else ""
        raise _Fault(f"has no {' and no '.join(map(repr, missing))}{hint}")


def _id(entry: dict[str, Any]) -> Hashable:
    if not isinstance(entry["id"], int | float | str):
        raise _Fault(f"has the id {_short(entry['id'])}, which is not a number")
    return entry["id"]


def _number(entry: dict[str, Any], key: str) -> float:
    return _finite(entry[key], f"as its {key}")


def _finite(value: Any, where: str) -> float:
    """A finite number, which the toolboxes use unchanged."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or abs(value) > 1e9 or not math.isfinite(value):
        raise _Fault(f"has {_short(value)} {where}, instead of a number")
    return value


def _name_of(entry: Any, what: str, place: int) -> str:
    """The name of an entry in messages: its id, or its place in the file from 1."""
    number = entry.get("id") if isinstance(entry, dict) else None
    if isinstance(number, int | float | str):
        return f"{what} {_short(number)}"
    return f"{what} number {place}"


def _short(value: Any) -> str:
    """An untrusted value as short, printable JSON."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**30:
        return "with over 30 digits"
    try:
        return brief(json.dumps(value, ensure_ascii=False))
    except RecursionError:
        return "with too many nested lists"


def _of_another_type(image: Any, images: dict[Hashable, CocoImage]) -> Hashable:
    """The intended id if a string is used for a number, or a number for a string."""
    other = next(_other_types(image), None)
    return other if other in images else None


def _other_types(image: Any) -> Iterator[Hashable]:
    if isinstance(image, int) and abs(image) < 10**30:
        yield str(image)
    elif isinstance(image, str) and image.strip().isdecimal() and len(image) < 30:
        yield int(image)


def _shifted(used: set[Hashable], categories: dict[Hashable, str]) -> list[str]:
    """The reason for unlisted categories if annotations count them from another start."""
    listed = {number for number in categories if isinstance(number, int)}
    unknown = used - categories.keys()
    if not listed or len(unknown) != 1:
        return []
    for start, first, last in ((0, min(listed), max(listed) + 1), (1, max(listed), 0)):
        if min(listed) == start and first not in used and unknown == {last}:
            return [
                f"has categories that start at {start}, but annotations whose category_id starts "
                f"at {1 - start}: all are off by one"
            ]
    return []
