"""``transfer check``: does a data set hold what its file says, whole and without a leak?"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbones.common.errors import UserError
from backbones.common.screen import Screen
from backbones.runtime import child_processes
from transfer.datasets import catalogue
from transfer.datasets.ade20k_full import refuse_full_release
from transfer.datasets.catalogue import DataSet
from transfer.datasets.file_checks import Looked, Rules, look_at
from transfer.datasets.findings import KINDS, SMALLEST_BOX, Finding
from transfer.datasets.listing import Item, Listing, list_all
from transfer.datasets.progress_bar import Tell, bars

_ALONE = 200  # images up to which starting processes costs more than it saves
_MOST_PROCESSES = 16
_SHOWN = 5  # findings of a kind on the terminal
# Grey levels, root of the mean square, between two thumbnails: on VOC, copies at another quality or
# size differ by 1 to 3, and no two images by less than 13.
_ALIKE = 5.0
_FLAT = 10.0  # grey levels, standard deviation: below, thumbnails are alike for want of content
_BLOCK = 1024


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        data: The data set.
        images: How many images were looked at.
        findings: Faults and notes, by kind.
    """

    data: DataSet
    images: int
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that training would suffer from."""
        return tuple(finding for finding in self.findings if KINDS[finding.kind].is_fault)

    def leave_out(self) -> list[str]:
        """Images to leave out if their faults are not mended, as paths in the data set's folder."""
        images = {finding.image for finding in self.faults if finding.image}
        return sorted(self.short(image) for image in images)

    def short(self, path: Path) -> str:
        """A path as seen from the data set's folder."""
        return str(
            path.relative_to(self.data.root) if path.is_relative_to(self.data.root) else path
        )


def check(data: DataSet, progress: Tell | None = None) -> Report:
    """Check every file that a data set trains or tests on.

    Args:
        data: The data set.
        progress: Told how many images are done.

    Raises:
        UserError: It is the full release of ADE20K, or a process that reads images was killed.
    """
    refuse_full_release(data.root)
    listing = list_all(data)
    findings = list(listing.findings)
    looked: dict[Path, Looked] = {}
    for result in look_at_all(list(listing.items.values()), data):
        looked[result.item.image] = result
        findings.extend(result.findings)
        if progress:
            progress("Images", len(looked), len(listing.items))
    findings.extend(_leaks(listing, looked))
    findings.extend(_mostly_small(listing, looked))
    order = list(KINDS)
    findings.sort(key=lambda finding: (order.index(finding.kind), finding.path))
    return Report(data, len(looked), tuple(findings))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("data", metavar="DATA", help="a data set's name, or your own .toml file")
    parser.add_argument(
        "--data-root",
        type=Path,
        default=catalogue.default_data_root(),
        help="folder that holds the data sets (default: $TRANSFER_DATA, or data)",
    )
    parser.add_argument(
        "--fix-list",
        type=Path,
        metavar="FILE",
        help="write the images to leave out to this file, one a line",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0 where the data set is clean, 1 where it has faults.

    Raises:
        UserError: There is no such data set, or the list could not be written.
    """
    console = Screen(highlight=False)
    data = _load(args.data, args.data_root)
    with bars(console) as tell:
        report = check(data, tell)
    for line in describe(report):
        console.print(line, soft_wrap=True)
    if args.fix_list:
        _write(args.fix_list, report.leave_out())
        console.print(
            f"{len(report.leave_out())} images to leave out are listed in '{args.fix_list}'.",
            soft_wrap=True,
        )
    return 1 if report.faults else 0


def describe(report: Report) -> Iterator[str]:
    """A report in lines for the terminal."""
    by_kind: dict[str, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        by_kind[finding.kind].append(finding)
    for name, found in by_kind.items():
        kind = KINDS[name]
        yield f"{'FAULT' if kind.is_fault else 'note'}  {kind.title}: {len(found)}"
        for finding in found[:_SHOWN]:
            yield f"    {report.short(finding.path)}: {finding.detail}"
        if len(found) > _SHOWN:
            yield f"    … and {len(found) - _SHOWN} more"
        yield f"    {kind.advice}"
    looked = f"{report.images:,} images of {report.data.title} were looked at"
    count = len(report.faults)
    yield f"{looked}: {count or 'no'} fault{'s' if count > 1 else ''}."


def _load(name: str, data_root: Path) -> DataSet:
    try:
        return catalogue.load(name, data_root)
    except UserError:
        if name == "ade20k":
            refuse_full_release(data_root)
        raise


def _write(path: Path, lines: list[str]) -> None:
    try:
        path.write_bytes(os.fsencode("".join(f"{line}\n" for line in lines)))
    except OSError as error:
        raise UserError(
            f"The list '{path}' could not be written ({error.strerror}); choose another place with "
            "--fix-list."
        ) from error


def _rules(data: DataSet) -> Rules:
    classes = frozenset(data.detection.classes) if data.detection else frozenset()
    masks = data.segmentation
    if masks is None:
        return Rules(classes)
    return Rules(classes, len(masks.classes), masks.ignore_index, masks.zero_is_ignored)


def look_at_all(items: list[Item], data: DataSet) -> Iterator[Looked]:
    """Check images one by one, on all cores where there are many.

    Raises:
        UserError: A process that reads images was killed.
    """
    look = partial(look_at, rules=_rules(data))
    processes = min(os.cpu_count() or 1, _MOST_PROCESSES)
    if len(items) <= _ALONE or processes == 1:
        yield from map(look, items)
        return
    pool = child_processes.pool(processes)
    try:
        yield from pool.map(look, items, chunksize=16)
    except BrokenProcessPool as error:
        raise UserError(
            "A process that reads images was killed, perhaps for want of memory; end other "
            "programs and run this again."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _leaks(listing: Listing, looked: dict[Path, Looked]) -> Iterator[Finding]:
    """Training images that stand in the test set too, by content."""
    told: set[Path] = set()
    for task, test in listing.test.items():
        train = [path for path in dict.fromkeys(listing.train.get(task, [])) if path not in told]
        by_content = {_content(looked[path]): path for path in test}
        twins = {path: by_content.get(_content(looked[path])) for path in train}
        for path, twin in twins.items():
            if twin:
                detail = "is listed for both" if path == twin else f"equals '{twin.name}'"
                yield Finding("leak", path, detail, path)
        alike = dict(_look_alikes([path for path in train if not twins[path]], test, looked))
        for path, twin in alike.items():
            yield Finding("alike", path, f"looks like '{twin.name}'")
        told.update((path for path in train if twins[path]), alike)


def _mostly_small(listing: Listing, looked: dict[Path, Looked]) -> Iterator[Finding]:
    """Folders of annotations with more boxes to train on that are small than others."""
    sides: dict[Path, list[int]] = defaultdict(list)
    for result in (looked[path] for path in listing.train.get("detection", [])):
        if result.item.annotation:
            sides[result.item.annotation.parent].extend(result.sides)
    for folder, found in sides.items():
        small = sum(side < SMALLEST_BOX for side in found)
        if 2 * small > len(found):
            what = f"boxes to train on are under {SMALLEST_BOX} pixels wide or high"
            yield Finding("small", folder, f"{small:,} of {len(found):,} {what}")


def _content(result: Looked) -> bytes:
    """What makes an image the same as another: its bytes, or its place if they cannot be read."""
    return result.digest or str(result.item.image).encode()


def _look_alikes(
    train: list[Path], test: list[Path], looked: dict[Path, Looked]
) -> Iterator[tuple[Path, Path]]:
    """Pairs whose thumbnails are nearly the same: copies at another size or quality."""
    train, test = _eventful(train, looked), _eventful(test, looked)
    if not train or not test:
        return
    test_pixels = np.stack([_pixels(looked[path]) for path in test])
    test_lengths = np.square(test_pixels).sum(axis=1)
    most = _ALIKE**2 * test_pixels.shape[1]
    for start in range(0, len(train), _BLOCK):
        block = train[start : start + _BLOCK]
        pixels = np.stack([_pixels(looked[path]) for path in block])
        products = pixels @ test_pixels.T
        distances = np.square(pixels).sum(axis=1)[:, None] + test_lengths - 2 * products
        nearest = distances.argmin(axis=1)
        for path, twin, distance in zip(block, nearest, distances.min(axis=1), strict=True):
            if distance < most:
                yield path, test[twin]


def _eventful(paths: list[Path], looked: dict[Path, Looked]) -> list[Path]:
    """The images that were read and have something on them."""
    read = (path for path in dict.fromkeys(paths) if looked[path].thumbnail)
    return [path for path in read if _pixels(looked[path]).std() >= _FLAT]


def _pixels(result: Looked) -> NDArray[np.float32]:
    """A thumbnail's values, centred on the middle grey."""
    return np.frombuffer(result.thumbnail, np.uint8).astype(np.float32) - 128
