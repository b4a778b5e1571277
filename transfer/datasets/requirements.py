"""What a training would stumble over, found before it starts.

Every list is read, every annotation and mask, the header of every image, and the images that are
tested on are decoded: by the code of ``transfer check``. That images which are only trained on are
whole is seen as they are loaded, all of them within the first pass.
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
    """Look at what a task trains and tests on; once in a process.

    Returns:
        What is worth knowing before a training, in sentences.

    Raises:
        UserError: A list, an annotation, an image or a mask that cannot be used, nothing to train
            on, or a test set that gives no headline.
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
        raise UserError(f"{_sentence(faults[0])} 'transfer check' names {named}.")
    return tuple(_sentence(one) for one in found.findings if one.kind in _WORTH_KNOWING)


def _sentence(finding: Finding) -> str:
    kind = KINDS[finding.kind]
    return f"{kind.title}: '{finding.path.absolute()}' {finding.detail}. {kind.advice}"


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
    files = (listing.items[path].annotation for path in listing.images_of("train", "detection"))
    things = (thing for file in files if file for thing in read_voc_xml(file).objects)
    large = (t.name for t in things if not t.difficult and t.shorter_side >= smallest)
    if set(boxes.headline_classes or boxes.classes).isdisjoint(large):  # reads up to the first
        raise UserError(
            f"Under this protocol boxes under {smallest} pixels wide or high are background in "
            f"training, and in '{data.name}' no training box of the headline's classes is larger, "
            "difficult ones aside; enlarge the images with their boxes, or take a protocol that "
            "trains on boxes of any size, such as 'paper'."
        )
