"""Faults of a data set that would stop a training, found before it starts.

Every list, annotation and mask and the header of every image are read, and the test images are
decoded, with the code of ``transfer check``. Damage in training images shows when they are loaded,
within the first epoch.
"""

from __future__ import annotations

import dataclasses
from functools import cache

from backbones.common.errors import UserError
from transfer.datasets.data_set import DataSet
from transfer.datasets.findings import KINDS, Finding
from transfer.datasets.listing import list_all
from transfer.datasets.readers import read_voc_xml
from transfer.datasets.survey import survey

_WORTH_KNOWING = ("nowhere", "deep", "not turned")


@cache
def require_usable(data: DataSet, task: str) -> tuple[str, ...]:
    """Check a task's training and test images, once per process.

    Returns:
        Remarks for the user, in sentences.

    Raises:
        UserError: A list, annotation, image or mask is unusable, there is nothing to train
            on, or the test set has no headline class.
    """
    used = dataclasses.replace(
        data,
        detection=data.detection if task == "detection" else None,
        segmentation=data.segmentation if task == "segmentation" else None,
    )
    found = survey(used, whole=False)
    faults = [finding for finding in found.findings if KINDS[finding.kind].is_fault]
    if faults:
        named = f"all {len(faults)} faults" if len(faults) > 1 else "such faults"
        raise UserError(f"{_sentence(faults[0])} 'transfer check' lists {named}.")
    return tuple(_sentence(one) for one in found.findings if one.kind in _WORTH_KNOWING)


def _sentence(finding: Finding) -> str:
    kind = KINDS[finding.kind]
    return f"{kind.title}: '{finding.path.absolute()}' {finding.detail}. {kind.advice}"


def require_large_boxes(data: DataSet, smallest: int) -> None:
    """Check that a protocol that skips small boxes in VOC's layout has a box to train on.

    Args:
        data: A data set with boxes that passed :func:`require_usable`.
        smallest: Side in pixels below which the protocol treats boxes as background; 0 for none.

    Raises:
        UserError: No training box of the headline's classes is large enough.
    """
    boxes = data.detection
    if not smallest or boxes is None or boxes.layout != "voc":
        return
    listing = list_all(dataclasses.replace(data, segmentation=None))
    files = (listing.items[path].annotation for path in listing.images_of("train", "detection"))
    things = (thing for file in files if file for thing in read_voc_xml(file).objects)
    large = (t.name for t in things if not t.difficult and t.shorter_side >= smallest)
    if set(boxes.headline_classes or boxes.classes).isdisjoint(large):  # reads up to the first
        raise UserError(
            f"This protocol treats boxes under {smallest} pixels wide or high as background in "
            f"training, but no training box of the headline's classes in '{data.name}' is larger, "
            "not counting difficult ones; enlarge the images with their boxes, or choose a "
            "protocol "
            "that trains on boxes of any size, such as 'paper'."
        )
