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
from transfer.datasets.readers import read_mask, read_voc_xml


@cache
def require_usable(data: DataSet, task: str) -> None:
    """Look at what a task trains and tests on; once in a process.

    Raises:
        UserError: A list, an annotation, an image or a mask that cannot be used, or a test set that
            gives no headline.
    """
    used = dataclasses.replace(
        data,
        detection=data.detection if task == "detection" else None,
        segmentation=data.segmentation if task == "segmentation" else None,
    )
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


def require_large_boxes(data: DataSet, smallest: int) -> None:
    """See that a protocol which passes over small boxes of VOC's layout has one to train on.

    Args:
        data: A data set with boxes, of which :func:`require_usable` has found no fault.
        smallest: Side in pixels under which the protocol takes boxes for background; 0 for none.

    Raises:
        UserError: No training box of the headline's classes is as large.
    """
    boxes = data.detection
    if not smallest or boxes is None or boxes.layout != "voc":
        return
    listing = list_all(dataclasses.replace(data, segmentation=None))
    trained = (listing.items[path] for path in listing.train["detection"])
    large = (name for item in trained for name in _classes(item, data, smallest))
    if set(boxes.headline_classes or boxes.classes).isdisjoint(large):  # reads up to the first
        raise UserError(
            f"Under this protocol boxes under {smallest} pixels wide or high are background in "
            f"training, and in '{data.name}' no training box of the headline's classes is larger, "
            "difficult ones aside; enlarge the images with their boxes, or take a protocol that "
            "trains on boxes of any size, such as 'paper'."
        )


def _missing(item: Item) -> list[Finding]:
    """The files of an item that are not there."""
    files = {"image": item.image, "annotation": item.annotation, "mask": item.mask}
    return [
        Finding(kind, path, "does not exist", item.image)
        for kind, path in files.items()
        if path and not path.is_file()
    ]


def _classes(item: Item, data: DataSet, smallest: int = 0) -> Iterator[str]:
    """The classes that count in an image, of VOC boxes the large ones; read as they are used."""
    if item.coco:
        yield from (box.name for box in item.coco.boxes if not box.is_crowd)
    if item.annotation:
        objects = read_voc_xml(item.annotation).objects
        yield from (o.name for o in objects if not o.difficult and o.shorter_side >= smallest)
    if item.mask and (masks := data.segmentation):
        first = int(masks.zero_is_ignored)
        for value in np.unique(read_mask(item.mask)).tolist():
            if value != masks.ignore_index and 0 <= value - first < len(masks.classes):
                yield masks.classes[value - first]
