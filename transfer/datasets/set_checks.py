"""Checks of all images of a data set together: bits, sizes and small boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from transfer.datasets.file_checks import Looked
from transfer.datasets.findings import SMALLEST_BOX, Finding
from transfer.datasets.listing import Listing

SMALLEST_IMAGE = 32
"""Pixels; the toolboxes' own protocols for boxes skip smaller images in training."""

_DARK = 64  # of 255; 16-bit images with at most 14 bits are darker when loaded


def set_findings(listing: Listing, looked: dict[Path, Looked]) -> Iterator[Finding]:
    """Find problems of all images together.

    Args:
        listing: The training and test images.
        looked: The result of each image's check.
    """
    yield from _deep(looked)
    trained = [looked[path] for path in listing.images_of("train", "detection")]
    yield from _mostly_small(trained)
    for what, group in (
        ("no box", [one for one in trained if not one.boxes and not one.findings]),
        (
            f"under {SMALLEST_IMAGE} pixels on a side",
            [one for one in trained if one.size and min(one.size) < SMALLEST_IMAGE],
        ),
    ):
        if 0 < len(group) < len(trained):
            detail = f"with {what}: {len(group):,} of {len(trained):,} training images"
            yield Finding("passed over", group[0].item.image, f"{detail}, this is the first")


def _deep(looked: dict[Path, Looked]) -> Iterator[Finding]:
    """Images that lose bits when loaded."""
    deep = {path: one.brightest for path, one in looked.items() if one.brightest is not None}
    if deep:
        most = max(deep.values())
        detail = (
            f"the brightest value of {len(deep):,} such images, cut to 8 bits, is {most} of 255"
        )
        yield Finding("dark" if most < _DARK else "deep", next(iter(deep)), detail)


def _mostly_small(trained: list[Looked]) -> Iterator[Finding]:
    """Folders of annotations where most training boxes are small."""
    sides: dict[Path, list[float]] = defaultdict(list)
    for result in trained:
        if result.item.annotation:
            sides[result.item.annotation.parent] += [b.side for b in result.boxes if b.is_judged]
    for folder, found in sides.items():
        small = sum(side < SMALLEST_BOX for side in found)
        if 2 * small > len(found):
            what = f"training boxes are under {SMALLEST_BOX} pixels wide or high"
            yield Finding("small", folder, f"{small:,} of {len(found):,} {what}")
