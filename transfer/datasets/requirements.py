"""What a training would stumble over only at its end, found before it starts.

Every list is read, every file that is listed must be there, and what is tested on is looked at as
``transfer check`` does. Images that are only trained on are looked at as they are loaded, all of
them within the first pass.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache

import numpy as np

from backbones.common.errors import UserError
from transfer.datasets.catalogue import DataSet
from transfer.datasets.check import look_at_all
from transfer.datasets.findings import KINDS, Finding
from transfer.datasets.listing import Item, list_all
from transfer.datasets.readers import mask_size, read_mask, read_voc_xml


@cache
def require_usable(data: DataSet, task: str) -> None:
    """Look at what a task trains and tests on; once in a process.

    Raises:
        UserError: A list, an annotation, an image or a mask that cannot be used, or a test set that
            gives no headline.
    """
    used = _only(data, task)
    listing = list_all(used)
    findings = list(listing.findings)
    for path in listing.train.get(task, []):
        findings += _missing(listing.items[path])
    tested = [listing.items[path] for path in dict.fromkeys(listing.test.get(task, []))]
    findings += [finding for looked in look_at_all(tested, used) for finding in looked.findings]
    faults = [finding for finding in findings if KINDS[finding.kind].is_fault]
    if faults:
        first = faults[0]
        kind = KINDS[first.kind]
        named = f"all {len(faults)} faults" if len(faults) > 1 else "such faults"
        raise UserError(
            f"{kind.title}: '{first.path}' {first.detail}. {kind.advice} 'transfer check' names "
            f"{named}."
        )
    part = used.detection or used.segmentation
    assert part is not None
    headline = set(part.headline_classes or part.classes)
    if headline.isdisjoint(name for item in tested for name in _classes(item, used)):
        raise UserError(
            f"No class of the headline occurs in the test set of '{data.name}', so that there "
            "would be no figure; correct 'test' or 'headline_classes' in the data set's file."
        )


def require_trainable(
    data: DataSet, task: str, *, smallest_box: int = 0, difficult: bool = False
) -> None:
    """See that there is something to train on.

    Args:
        data: A data set of which :func:`require_usable` has found no fault.
        task: ``"detection"`` or ``"segmentation"``.
        smallest_box: Side in pixels under which the protocol takes boxes of VOC's layout for
            background; 0 for none.
        difficult: Whether the protocol trains on difficult boxes as on others.

    Raises:
        UserError: No training image has a box or a labelled pixel that is trained on, or all boxes
            of the headline's classes are smaller.
    """
    trained = _trained(data, task)
    if not any(True for item in trained for _ in _trained_classes(item, data, difficult)):
        what = "box" if task == "detection" else "labelled pixel"
        why = (
            "all images are without one, or all boxes are difficult, crowds, without an area or "
            "under a pixel"
            if task == "detection"
            else "all masks hold nothing but the value that is not judged"
        )
        raise UserError(
            f"The training images of '{data.name}' ('{data.root}') hold no {what} that is trained "
            f"on: {why}. Correct the annotations, or 'train' in the data set's file."
        )
    boxes = data.detection
    if task != "detection" or not smallest_box or boxes is None or boxes.layout != "voc":
        return
    large = (
        name for item in trained for name in _trained_classes(item, data, difficult, smallest_box)
    )
    if set(boxes.headline_classes or boxes.classes).isdisjoint(large):  # reads up to the first
        raise UserError(
            f"Under this protocol boxes under {smallest_box} pixels wide or high are background in "
            f"training, and in '{data.name}' no training box of the headline's classes is larger, "
            "difficult ones aside; enlarge the images with their boxes, or take a protocol that "
            "trains on boxes of any size, such as 'paper'."
        )


def require_resizable(data: DataSet, task: str, *, train_side: float, test_side: float) -> None:
    """See that no image is so elongated that resizing leaves less than a pixel of its width.

    Args:
        data: As for :func:`require_trainable`.
        task: Likewise.
        train_side: Shortest long side, in pixels, that training resizes images to; 0 for none.
        test_side: Likewise of the test.

    Raises:
        UserError: One is; the message names it.
    """
    used = _only(data, task)
    listing = list_all(used)
    for paths, side in ((listing.train[task], train_side), (listing.test[task], test_side)):
        for path in dict.fromkeys(paths) if side else ():
            width, height = _told_size(listing.items[path])
            if side * min(width, height) < 0.5 * max(width, height):
                raise UserError(
                    f"'{path}' has {width} × {height} pixels: this protocol resizes its longer "
                    f"side to as little as {side:.0f}, which leaves less than one pixel of the "
                    "shorter side. Cut the image into parts, or leave it out."
                )


def _only(data: DataSet, task: str) -> DataSet:
    """A data set as one task uses it."""
    return dataclasses.replace(
        data,
        detection=data.detection if task == "detection" else None,
        segmentation=data.segmentation if task == "segmentation" else None,
    )


def _trained(data: DataSet, task: str) -> list[Item]:
    listing = list_all(_only(data, task))
    return [listing.items[path] for path in dict.fromkeys(listing.train[task])]


def _told_size(item: Item) -> tuple[int, int]:
    """Width and height of an image, by what was drawn on it: the same, as was seen before."""
    if item.mask:
        return mask_size(item.mask)
    drawn = item.coco or read_voc_xml(item.annotation or item.image)
    return drawn.width, drawn.height


def _missing(item: Item) -> list[Finding]:
    """The files of an item that are not there."""
    files = {"image": item.image, "annotation": item.annotation, "mask": item.mask}
    return [
        Finding(kind, path, "does not exist", item.image)
        for kind, path in files.items()
        if path and not path.is_file()
    ]


def _classes(item: Item, data: DataSet) -> Iterator[str]:
    """The classes that count in a test image; read as they are used."""
    if item.coco:
        yield from (box.name for box in item.coco.boxes if not box.is_crowd)
    if item.annotation:
        yield from (o.name for o in read_voc_xml(item.annotation).objects if not o.difficult)
    yield from _labelled(item, data)


def _trained_classes(
    item: Item, data: DataSet, difficult: bool, smallest_box: int = 0
) -> Iterator[str]:
    """The classes that a training image teaches; read as they are used."""
    if item.coco:
        boxes = item.coco.boxes
        yield from (box.name for box in boxes if not (box.is_crowd or box.is_passed_over))
    if item.annotation:
        for thing in read_voc_xml(item.annotation).objects:
            if (difficult or not thing.difficult) and thing.shorter_side >= smallest_box:
                yield thing.name
    yield from _labelled(item, data)


def _labelled(item: Item, data: DataSet) -> Iterator[str]:
    """The classes that a mask has pixels of."""
    if item.mask and (masks := data.segmentation):
        first = int(masks.zero_is_ignored)
        for value in np.unique(read_mask(item.mask)).tolist():
            if value != masks.ignore_index and 0 <= value - first < len(masks.classes):
                yield masks.classes[value - first]
