"""Checks all files that a data set lists, for ``transfer check`` and before a training."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backbones.common.errors import UserError
from backbones.runtime import child_processes
from transfer.datasets.class_checks import class_findings
from transfer.datasets.data_set import DataSet
from transfer.datasets.file_checks import Looked, Rules, look_at
from transfer.datasets.findings import KINDS, Finding
from transfer.datasets.leaks import leaks
from transfer.datasets.listing import Item, Listing, list_all
from transfer.datasets.progress_bar import Notify
from transfer.datasets.set_checks import set_findings

_ALONE = 200  # up to this number of images, starting processes costs more than it saves
_MOST_PROCESSES = 16


@dataclass(frozen=True)
class Survey:
    """The result of a survey.

    Attributes:
        listing: The training and test images.
        looked: The result of each image's check.
        findings: Faults and notes, by kind.
    """

    listing: Listing
    looked: dict[Path, Looked]
    findings: tuple[Finding, ...]


def survey(data: DataSet, whole: bool = True, progress: Notify | None = None) -> Survey:
    """Check every file in a data set's training and test splits.

    Args:
        data: The data set.
        whole: Whether to decode training images too, and to compare them with test images;
            otherwise their headers, annotations and masks are read.
        progress: Notified of the number of checked images.

    Raises:
        UserError: A process that reads images was killed.
    """
    listing = list_all(data)
    tested = {image for images in listing.test.values() for image in images}
    items = list(listing.items.values())
    looked: dict[Path, Looked] = {}
    for result in _look_at_all(items, [whole or item.image in tested for item in items], data):
        looked[result.item.image] = result
        if progress:
            progress("Images", len(looked), len(items))
    findings = [*listing.findings, *(one for result in looked.values() for one in result.findings)]
    findings += class_findings(data, listing, looked)
    findings += set_findings(listing, looked)
    if whole:
        findings += [*leaks(listing, looked), *_of_no_effect(data, listing)]
    order = list(KINDS)
    findings.sort(key=lambda finding: (order.index(finding.kind), finding.path))
    return Survey(listing, looked, tuple(findings))


def _of_no_effect(data: DataSet, listing: Listing) -> Iterator[Finding]:
    """Names under ``exclude`` that exclude nothing."""
    part = data.detection or data.segmentation
    if part is None:
        return
    left_out = {os.path.normpath(image) for image in listing.left_out}
    names = [name for name in part.excluded if os.path.normpath(part.root / name) not in left_out]
    if names:
        detail = f"is in no list, like {len(names)} of {len(part.excluded)} names in all"
        yield Finding("excluded", Path(os.path.normpath(part.root / names[0])), detail)


def _rules(data: DataSet) -> Rules:
    classes = frozenset(data.detection.classes) if data.detection else frozenset()
    masks = data.segmentation
    if masks is None:
        return Rules(classes)
    return Rules(classes, len(masks.classes), masks.ignore_index, masks.zero_is_ignored)


def _look_at_all(items: list[Item], decoded: list[bool], data: DataSet) -> Iterator[Looked]:
    """Check images, on all cores if there are many."""
    look = partial(look_at, rules=_rules(data))
    processes = min(os.cpu_count() or 1, _MOST_PROCESSES)
    if len(items) <= _ALONE or processes == 1:
        yield from map(look, items, decoded)
        return
    pool = child_processes.pool(processes)
    try:
        yield from pool.map(look, items, decoded, chunksize=16)
    except BrokenProcessPool as error:
        raise UserError(
            "A process that reads images was killed, perhaps because memory ran out; end other "
            "programs and run this again."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
