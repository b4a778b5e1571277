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

from backbones.errors import UserError
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


def _missing(item: Item) -> list[Finding]:
    """The files of an item that are not there."""
    files = {"image": item.image, "annotation": item.annotation, "mask": item.mask}
    return [
        Finding(kind, path, "does not exist", item.image)
        for kind, path in files.items()
        if path and not path.is_file()
    ]


def _classes(item: Item, data: DataSet) -> Iterator[str]:
    """The classes that an image is judged by; read as they are asked for."""
    if item.coco:
        yield from (box.name for box in item.coco.boxes if not box.is_crowd)
    if item.annotation:
        yield from (o.name for o in read_voc_xml(item.annotation).objects if not o.difficult)
    if item.mask and (masks := data.segmentation):
        first = int(masks.zero_is_ignored)
        for value in np.unique(read_mask(item.mask)).tolist():
            if value != masks.ignore_index and 0 <= value - first < len(masks.classes):
                yield masks.classes[value - first]
