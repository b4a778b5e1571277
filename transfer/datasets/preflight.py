"""What a training would stumble over only at its end, found before it starts.

Every list is read, every file that is listed must be there, and what is tested on is looked at as
``transfer check`` does. Images that are only trained on are looked at as they are loaded, all of
them within the first pass.
"""

from __future__ import annotations

import dataclasses
from functools import cache

from backbones.errors import UserError
from transfer.datasets.catalogue import DataSet
from transfer.datasets.check import look_at_all
from transfer.datasets.findings import KINDS, Finding
from transfer.datasets.listing import Item, list_all


@cache
def require_usable(data: DataSet, task: str) -> None:
    """Look at what a task trains and tests on; once in a process.

    Raises:
        UserError: A list, an annotation, an image or a mask that cannot be used.
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
        raise UserError(
            f"{kind.title}: '{first.path}' {first.detail}. {kind.advice}"
            + (f" There are {len(faults) - 1} more faults." if len(faults) > 1 else "")
            + " 'transfer check' names them all."
        )


def _missing(item: Item) -> list[Finding]:
    """The files of an item that are not there."""
    files = {"image": item.image, "annotation": item.annotation, "mask": item.mask}
    return [
        Finding(kind, path, "does not exist", item.image)
        for kind, path in files.items()
        if path and not path.is_file()
    ]
