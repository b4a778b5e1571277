"""Checks of the classes that occur in the training and test images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from transfer.datasets.data_set import DataSet, Detection, Segmentation
from transfer.datasets.file_checks import Looked
from transfer.datasets.findings import Finding
from transfer.datasets.listing import Listing

PARTS = {"train": "training", "test": "test"}

_MOST = 10  # most names or values in a sentence


def class_findings(
    data: DataSet, listing: Listing, looked: dict[Path, Looked]
) -> Iterator[Finding]:
    """Find classes that occur nowhere, and splits that are useless for training or testing.

    Args:
        data: The data set.
        listing: The training and test images.
        looked: The result of each image's check.
    """
    for part in PARTS:
        if boxes := data.detection:
            images = [looked[path] for path in listing.images_of(part, "detection")]
            if images:
                source = listing.sources[part, "detection"][0]
                yield from _of_boxes(boxes, part, source, images)
        if masks := data.segmentation:
            images = [looked[path] for path in listing.images_of(part, "segmentation")]
            if any(image.labels for image in images):
                source = listing.sources[part, "segmentation"][0]
                yield from _of_masks(masks, part, source, images)


def _of_boxes(data: Detection, part: str, source: Path, images: list[Looked]) -> Iterator[Finding]:
    drawn = [box for image in images for box in image.boxes]
    counted = {
        box.name for box in drawn if (box.is_trained_on if part == "train" else box.is_judged)
    }
    if part == "train" and not counted:
        why = (
            "all are difficult, crowds, without an area, or under a pixel"
            if drawn
            else "it has none"
        )
        yield Finding("nothing", source, f"has no box that is trained on: {why}")
        return
    if part == "test" and counted.isdisjoint(data.headline_classes or data.classes):
        yield Finding("no figure", source, "has no box of the headline's classes that is judged")
        return
    passed = {box.name for box in drawn} - counted
    absent = [name for name in data.classes if name not in counted | passed]
    for names, what in ((absent, "box"), (sorted(passed), "box that counts, only others,")):
        if names:
            yield Finding("nowhere", source, f"has no {PARTS[part]} {what} of {_named(names)}")


def _of_masks(
    data: Segmentation, part: str, source: Path, images: list[Looked]
) -> Iterator[Finding]:
    pixels: Counter[int] = Counter()
    for image in images:
        pixels.update(image.labels)
    first = int(data.zero_is_ignored)
    numbers = {name: first + number for number, name in enumerate(data.classes)}
    found = [name for name, number in numbers.items() if number in pixels]
    absent = [name for name in data.classes if name not in found]
    ignored = pixels[data.ignore_index] + (pixels[0] if data.zero_is_ignored else 0)
    values = f"{ignored / pixels.total():.1%} of the pixels are ignored, and the masks' values are "
    values += _listed([str(value) for value in sorted(pixels)]) + _shift(data, set(pixels))
    judged = found if part == "train" else set(found) & set(data.headline_classes or data.classes)
    if not judged:
        kind = "nothing" if part == "train" else "no figure"
        yield Finding(kind, source, f"has no pixel of a class that counts; {values}")
    elif len(found) == 1:
        none = f", none of {_named(absent)}" if absent else ""
        only = f"has {PARTS[part]} pixels of only '{found[0]}'{none}"
        yield Finding("one class", source, f"{only}; {values}")
    elif absent:
        what = f"has no {PARTS[part]} pixel of {_named(absent)}"
        yield Finding("nowhere", source, f"{what}; {values}")


def _shift(data: Segmentation, values: set[int]) -> str:
    """A hint if the values fit all classes with the other ``zero_is_ignored``."""
    other = not data.zero_is_ignored
    numbers = set(range(int(other), int(other) + len(data.classes)))
    if values - {data.ignore_index} - ({0} if other else set()) == numbers:
        return f": those of all classes if zero_is_ignored were {str(other).lower()}"
    return ""


def _named(names: Collection[str]) -> str:
    return _listed([f"'{name}'" for name in names], "or")


def _listed(texts: list[str], word: str = "and") -> str:
    """``a, b and c``, or the first and how many more."""
    if len(texts) > _MOST:
        return f"{', '.join(texts[:_MOST])} and {len(texts) - _MOST} more"
    return f" {word} ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)
