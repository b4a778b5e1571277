"""The checks of one image with its annotation and mask."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from transfer.datasets import readers
from transfer.datasets.coco_json import CocoImage
from transfer.datasets.findings import Finding
from transfer.datasets.listing import Item
from transfer.datasets.readers import BadFile, VocAnnotation

THUMBNAIL = 16
"""Side of the small copy by which look-alikes are found, in pixels."""

_COCO_SLACK = 1.0  # COCO's boxes are traced by hand and rounded to hundredths


@dataclass(frozen=True)
class Rules:
    """What the data set's file says.

    Attributes:
        classes: Names that boxes may have; empty for any.
        mask_classes: How many classes masks tell apart; 0 for any.
        ignore_index: The mask's value that is not judged.
        zero_is_ignored: Whether 0 in a mask is unlabelled.
    """

    classes: frozenset[str] = frozenset()
    mask_classes: int = 0
    ignore_index: int = 255
    zero_is_ignored: bool = False


@dataclass(frozen=True)
class Looked:
    """What became of one item.

    Attributes:
        item: The item.
        findings: What was found.
        digest: Hash of the image file's bytes; empty if it could not be read.
        thumbnail: The image at :data:`THUMBNAIL` pixels a side, RGB; empty likewise.
        sides: Shorter sides of its VOC boxes in pixels, without the difficult ones.
    """

    item: Item
    findings: list[Finding]
    digest: bytes = b""
    thumbnail: bytes = b""
    sides: tuple[int, ...] = ()


def look_at(item: Item, rules: Rules) -> Looked:
    """Check one image with all that belongs to it."""
    findings: list[Finding] = []
    size, digest, thumbnail = None, b"", b""
    try:
        content = readers.read_file(item.image, readers.MAX_IMAGE_BYTES)
        digest = hashlib.blake2b(content, digest_size=16).digest()
        image = readers.decode(item.image, content)
        size, thumbnail = readers.upright_size(image), _thumbnail(image)
        findings.extend(_notes(item, image))
    except BadFile as error:
        findings.append(Finding("image", error.path, error.reason, item.image))
    sides: tuple[int, ...] = ()
    if item.annotation:
        try:
            annotation = readers.read_voc_xml(item.annotation)
            sides = tuple(thing.shorter_side for thing in annotation.objects if not thing.difficult)
            findings.extend(_check_voc(item, item.annotation, annotation, size, rules))
        except BadFile as error:
            findings.append(Finding("annotation", error.path, error.reason, item.image))
    if item.coco:
        findings.extend(_check_coco(item, item.coco, size, rules))
    if item.mask:
        findings.extend(_check_mask(item, size, rules))
    return Looked(item, findings, digest, thumbnail, sides)


def _thumbnail(image: Image.Image) -> bytes:
    small = image.convert("RGB").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return small.tobytes()


def _notes(item: Item, image: Image.Image) -> Iterator[Finding]:
    if image.mode != "RGB":
        yield Finding("colour", item.image, f"its mode is {image.mode}")
    if (orientation := readers.orientation(image)) != 1:
        detail = f"stored as {image.width} × {image.height}, with the orientation {orientation}"
        yield Finding("turned", item.image, detail)


def _check_voc(
    item: Item,
    path: Path,
    annotation: VocAnnotation,
    size: tuple[int, int] | None,
    rules: Rules,
) -> Iterator[Finding]:
    said = (annotation.width, annotation.height)
    yield from _check_size(item, said, size)
    for kind, detail in _voc_faults(annotation, size or said, rules):
        yield Finding(kind, path, detail, item.image)


def _voc_faults(
    annotation: VocAnnotation, size: tuple[int, int], rules: Rules
) -> Iterator[tuple[str, str]]:
    width, height = size
    for thing in annotation.objects:
        xmin, ymin, xmax, ymax = thing.box
        if rules.classes and thing.name not in rules.classes:
            yield "class", f"names '{thing.name}'"
        if not (1 <= xmin < xmax <= width and 1 <= ymin < ymax <= height):
            yield "box", f"{thing.name} at {thing.box} in {width} × {height} pixels"


def _check_coco(
    item: Item, coco: CocoImage, size: tuple[int, int] | None, rules: Rules
) -> Iterator[Finding]:
    said = (coco.width, coco.height)
    yield from _check_size(item, said, size)
    width, height = size or said
    for box in coco.boxes:
        name, left, top, across, down, *_ = box
        detail = f"{name} at {(left, top, across, down)} in {width} × {height} pixels"
        if rules.classes and name not in rules.classes:
            yield Finding("class", item.image, f"has a box of '{name}'", item.image)
        if box.is_passed_over:
            yield Finding("no area", item.image, f"{detail}, area {box.area}")
        elif (
            min(left, top) < -_COCO_SLACK
            or left + across > width + _COCO_SLACK
            or top + down > height + _COCO_SLACK
        ):
            yield Finding("box", item.image, detail, item.image)


def _check_size(
    item: Item, said: tuple[int, int], size: tuple[int, int] | None
) -> Iterator[Finding]:
    if size and said != size:
        detail = f"says {said[0]} × {said[1]}, the image has {size[0]} × {size[1]}"
        yield Finding("size", item.annotation or item.image, detail, item.image)


def _check_mask(item: Item, size: tuple[int, int] | None, rules: Rules) -> Iterator[Finding]:
    assert item.mask
    try:
        mask = readers.read_mask(item.mask)
    except BadFile as error:
        yield Finding("mask", error.path, error.reason, item.image)
        return
    height, width = mask.shape
    if size and (width, height) != size:
        detail = f"has {width} × {height} pixels, the image {size[0]} × {size[1]}"
        yield Finding("mask size", item.mask, detail, item.image)
    if rules.mask_classes:
        illegal = readers.illegal_values(
            mask, rules.mask_classes, rules.ignore_index, rules.zero_is_ignored
        )
        if illegal:
            told = ", ".join(map(str, illegal[:5])) + (" …" if len(illegal) > 5 else "")
            yield Finding("mask value", item.mask, f"has the value {told}", item.image)
