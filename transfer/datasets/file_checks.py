"""Checks of one image with its annotation and mask."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from backbones.common.image_file import MAX_BYTES, require_bounded
from backbones.common.near_names import did_you_mean
from backbones.common.regular_file import UnfitFile
from transfer.datasets import as_loaded, readers
from transfer.datasets.coco_json import CocoImage
from transfer.datasets.coco_likely import is_beyond
from transfer.datasets.findings import LONGEST, Finding
from transfer.datasets.listing import Item
from transfer.datasets.readers import VocAnnotation

THUMBNAIL = 16
"""Side of the thumbnail for finding look-alikes, in pixels."""

_EIGHT = 8  # bits per channel that the loader keeps


@dataclass(frozen=True)
class Rules:
    """The rules from the data set's file.

    Attributes:
        classes: Allowed class names of boxes; empty for any.
        mask_classes: Number of classes in masks; 0 for any.
        ignore_index: Mask value of ignored pixels.
        zero_is_ignored: Whether 0 in a mask is unlabelled.
    """

    classes: frozenset[str] = frozenset()
    mask_classes: int = 0
    ignore_index: int = 255
    zero_is_ignored: bool = False


class Drawn(NamedTuple):
    """One box of an image.

    Attributes:
        name: Its class.
        side: Its shorter side in pixels, as computed by MMDetection.
        is_trained_on: Whether it is used in training, unless the protocol has its own rule.
        is_judged: Whether a test counts it.
    """

    name: str
    side: float
    is_trained_on: bool
    is_judged: bool


@dataclass(frozen=True, kw_only=True)
class Looked:
    """The result of one item's check.

    Attributes:
        item: The item.
        findings: Faults and notes.
        digest: Hash of the image file's bytes; empty if it could not be read.
        thumbnail: The image with sides of :data:`THUMBNAIL` pixels, RGB; empty if not decoded.
        size: Width and height of the loaded image in pixels; None if unreadable.
        brightest: The highest value of an image with over 8 bits after loading, 0 to 255; None for
            others.
        boxes: Its boxes.
        labels: Pixels of its mask, by value.
    """

    item: Item
    findings: list[Finding]
    digest: bytes = b""
    thumbnail: bytes = b""
    size: tuple[int, int] | None = None
    brightest: int | None = None
    boxes: list[Drawn] = field(default_factory=list)
    labels: dict[int, int] = field(default_factory=dict)


def look_at(item: Item, decode: bool, rules: Rules) -> Looked:
    """Check one image with its annotation and mask.

    Args:
        item: The image.
        decode: Whether to decode the whole image; otherwise only its header is read. Annotation
            and mask are read in any case.
        rules: The rules from the data set's file.
    """
    findings: list[Finding] = []
    size, digest, thumbnail, brightest = None, b"", b"", None
    try:
        if decode:
            content = readers.read_file(item.image, MAX_BYTES)
            digest = hashlib.blake2b(content, digest_size=16).digest()
            image = readers.decode(item.image, content)
            as_loaded.require_loadable(item.image, image, content)
            thumbnail = _thumbnail(image)
        else:
            content = _bounded(item.image)
        image = readers.header(item.image, content)
        size = as_loaded.loaded_size(image)
        if as_loaded.bits(image, content) > _EIGHT:
            brightest = as_loaded.brightest(item.image, content)
        findings.extend(_about_image(item.image, image, size, brightest is not None))
    except UnfitFile as error:
        findings.append(Finding("image", error.path, error.reason, item.image))
    boxes: list[Drawn] = []
    if item.annotation:
        try:
            annotation = readers.read_voc_xml(item.annotation)
            boxes += _drawn_in_voc(annotation)
            findings.extend(
                _check_voc(
                    item, path=item.annotation, annotation=annotation, size=size, rules=rules
                )
            )
        except UnfitFile as error:
            findings.append(Finding("annotation", error.path, error.reason, item.image))
    if item.coco:
        boxes += _drawn_in_coco(item.coco)
        findings.extend(_check_coco(item, item.coco, size, rules))
    labels: dict[int, int] = {}
    if item.mask:
        findings.extend(_check_mask(item, path=item.mask, size=size, rules=rules, labels=labels))
    return Looked(
        item=item,
        findings=findings,
        digest=digest,
        thumbnail=thumbnail,
        size=size,
        brightest=brightest,
        boxes=boxes,
        labels=labels,
    )


def _bounded(path: Path) -> bytes:
    try:
        return require_bounded(path)
    except FileNotFoundError as error:
        raise UnfitFile(path, "does not exist") from error
    except OSError as error:
        raise UnfitFile(path, f"could not be read ({error.strerror})") from error


def _thumbnail(image: Image.Image) -> bytes:
    small = image.convert("RGB").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return small.tobytes()


def _about_image(
    path: Path, image: Image.Image, size: tuple[int, int], is_deep: bool
) -> Iterator[Finding]:
    """Findings on a readable image that is not decoded yet."""
    if max(size) > LONGEST * min(size):
        yield Finding("long", path, f"has {size[0]} × {size[1]} pixels", path)
    if image.mode != "RGB" and not is_deep:
        yield Finding("colour", path, f"its mode is {image.mode}")
    if (
        getattr(image, "is_animated", False) and image.format != "MPO"
    ):  # cameras use MPO for one picture
        yield Finding("frames", path, "contains more than one picture")
    if (turn := as_loaded.orientation(image)) != 1:
        detail = f"stored as {image.width} × {image.height}, with orientation {turn}"
        kind = "turned" if as_loaded.turns(image.format or "") else "not turned"
        yield Finding(kind, path, detail)


def _drawn_in_voc(annotation: VocAnnotation) -> Iterator[Drawn]:
    for thing in annotation.objects:
        side = thing.shorter_side
        counts = not thing.difficult
        yield Drawn(thing.name, side, counts and side > 0, counts)


def _drawn_in_coco(coco: CocoImage) -> Iterator[Drawn]:
    for box in coco.boxes:
        side = min(box.width, box.height)
        counts = not box.is_crowd
        yield Drawn(box.name, side, counts and not box.is_passed_over, counts)


def _check_voc(
    item: Item,
    *,
    path: Path,
    annotation: VocAnnotation,
    size: tuple[int, int] | None,
    rules: Rules,
) -> Iterator[Finding]:
    stated = (annotation.width, annotation.height)
    yield from _check_size(item, stated, size)
    width, height = size or stated
    for thing in annotation.objects:
        xmin, ymin, xmax, ymax = thing.box
        detail = f"{thing.name} at {thing.box} in {width} × {height} pixels"
        if rules.classes and thing.name not in rules.classes:
            near = did_you_mean(thing.name, rules.classes)
            yield Finding("class", path, f"names '{thing.name}'{near}", item.image)
        if not (1 <= xmin <= xmax <= width and 1 <= ymin <= ymax <= height):
            yield Finding("box", path, detail, item.image)
        elif thing.shorter_side == 0:
            yield Finding("thin", path, detail)


def _check_coco(
    item: Item, coco: CocoImage, size: tuple[int, int] | None, rules: Rules
) -> Iterator[Finding]:
    stated = (coco.width, coco.height)
    yield from _check_size(item, stated, size)
    width, height = size or stated
    for box in coco.boxes:
        name, left, top, across, down, *_ = box
        detail = f"{name} at {(left, top, across, down)} in {width} × {height} pixels"
        if rules.classes and name not in rules.classes:
            near = did_you_mean(name, rules.classes)
            yield Finding("class", item.image, f"has a box of class '{name}'{near}", item.image)
        if is_beyond(box, (width, height)):
            yield Finding("box", item.image, detail, item.image)
        elif box.is_passed_over:
            why = "marked 'ignore'" if box.is_ignored else f"area {box.area}"
            yield Finding("no area", item.image, f"{detail}, {why}")


def _check_size(
    item: Item, stated: tuple[int, int], size: tuple[int, int] | None
) -> Iterator[Finding]:
    if size and stated != size:
        detail = f"states {stated[0]} × {stated[1]}, the image has {size[0]} × {size[1]}"
        yield Finding("size", item.annotation or item.image, detail, item.image)


def _check_mask(
    item: Item, *, path: Path, size: tuple[int, int] | None, rules: Rules, labels: dict[int, int]
) -> Iterator[Finding]:
    """The faults of a mask; its pixels are counted in ``labels``."""
    try:
        mask = readers.read_mask(path)
    except UnfitFile as error:
        yield Finding("mask", error.path, error.reason, item.image)
        return
    counts = np.bincount(mask.ravel(), minlength=256)
    labels.update({value: int(counts[value]) for value in np.flatnonzero(counts).tolist()})
    height, width = mask.shape
    if size and (width, height) != size:
        detail = f"has {width} × {height} pixels, but the image {size[0]} × {size[1]}"
        yield Finding("mask size", path, detail, item.image)
    if rules.mask_classes:
        illegal = readers.illegal_values(
            labels, rules.mask_classes, rules.ignore_index, rules.zero_is_ignored
        )
        if illegal:
            values = ", ".join(map(str, illegal[:5])) + (" …" if len(illegal) > 5 else "")
            yield Finding("mask value", path, f"has the value {values}", item.image)
