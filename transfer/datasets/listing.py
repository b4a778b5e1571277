"""What a data set lists: each image with its annotation and mask, and the splits they are in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from transfer.datasets.catalogue import (
    DataSet,
    Detection,
    DetectionSplit,
    MaskSplit,
    Segmentation,
    voc_list,
)
from transfer.datasets.coco_json import CocoFile, CocoImage, read_coco
from transfer.datasets.findings import Finding
from transfer.datasets.readers import BadFile, read_file

_MAX_LIST_BYTES = 1 << 28
_OTHER_ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class Item:
    """One image and what belongs to it.

    Attributes:
        image: The image.
        annotation: Its VOC XML, if it is used for detection.
        coco: Its entry in COCO's JSON, if that is what it is used with.
        mask: Its mask, if it is used for segmentation.
    """

    image: Path
    annotation: Path | None = None
    coco: CocoImage | None = None
    mask: Path | None = None


@dataclass
class Listing:
    """All that has to be looked at.

    Attributes:
        items: By image; one that serves both tasks stands here once.
        train: Images trained on, by task.
        test: Images tested on, by task.
        findings: What is wrong with the lists themselves.
    """

    items: dict[Path, Item] = field(default_factory=dict)
    train: dict[str, list[Path]] = field(default_factory=dict)
    test: dict[str, list[Path]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add(
        self, task: str, part: str, source: Path, items: list[Item], expected: int | None
    ) -> None:
        """Take in one split.

        Args:
            task: ``"detection"`` or ``"segmentation"``.
            part: ``"train"`` or ``"test"``.
            source: The list or folder that names the images.
            items: What it names.
            expected: How many there should be, if known.
        """
        if not items:
            missing = "holds no *.jpg" if source.is_dir() else "names no image"
            self.findings.append(Finding("list", source, missing))
        elif expected is not None and len(items) != expected:
            detail = f"{len(items)} images where the original has {expected}"
            self.findings.append(Finding("count", source, detail))
        for image, count in Counter(item.image for item in items).items():
            if count > 1:
                self.findings.append(
                    Finding("twice", source, f"names '{image.name}' {count} times")
                )
        for item in items:
            known = self.items.get(item.image, item)
            self.items[item.image] = replace(
                known,
                annotation=known.annotation or item.annotation,
                coco=known.coco or item.coco,
                mask=known.mask or item.mask,
            )
        getattr(self, part).setdefault(task, []).extend(item.image for item in items)


def list_all(data: DataSet) -> Listing:
    """List what a data set trains and tests on; lists that cannot be read become findings."""
    listing = Listing()
    if data.detection:
        for part, split in _parts(data.detection):
            _add_boxes(listing, data.detection, part, split)
    if data.segmentation:
        for part, masks in (("train", data.segmentation.train), ("test", data.segmentation.test)):
            _add_masks(listing, data.segmentation, part, masks)
    return listing


def _parts(detection: Detection) -> Iterator[tuple[str, DetectionSplit]]:
    yield from (("train", split) for split in detection.train)
    yield from (("test", split) for split in detection.test)


def _add_boxes(listing: Listing, detection: Detection, part: str, split: DetectionSplit) -> None:
    folder = detection.root / split.folder
    try:
        if detection.layout == "coco":
            source = detection.root / split.split
            found = read_coco(source)
            items = [Item(folder / image.name, coco=image) for image in found.images]
            listing.findings += _coco_faults(found, source, detection, part)
        else:
            source = voc_list(detection.root, split)
            items = [
                Item(
                    folder / "JPEGImages" / f"{name}.jpg",
                    annotation=folder / "Annotations" / f"{name}.xml",
                )
                for name in _names(source)
            ]
    except BadFile as error:
        listing.findings.append(Finding("list", error.path, error.reason))
        return
    listing.add("detection", part, source, items, split.images)


def _coco_faults(
    found: CocoFile, source: Path, detection: Detection, part: str
) -> Iterator[Finding]:
    """What the file as a whole lacks."""
    for name in detection.classes:
        if name not in found.classes:
            yield Finding("list", source, f"has no category '{name}'")
    left_out = (box.is_passed_over or box.is_crowd for image in found.images for box in image.boxes)
    if part == "train" and any(image.boxes for image in found.images) and all(left_out):
        yield Finding(
            "list",
            source,
            "has no box that is trained on: all lack an area, are under a pixel, or are crowds",
        )


def _add_masks(listing: Listing, segmentation: Segmentation, part: str, split: MaskSplit) -> None:
    images, masks = segmentation.root / split.images, segmentation.root / split.masks
    source = segmentation.root / (split.list or split.images)
    try:
        names = _names(source) if split.list else _stems(images)
    except BadFile as error:
        listing.findings.append(Finding("list", error.path, error.reason))
        return
    items = [Item(images / f"{name}.jpg", mask=masks / f"{name}.png") for name in names]
    if not split.list:
        listing.findings += _other_images(images, masks)
    listing.add("segmentation", part, source, items, split.count)


def _names(path: Path) -> list[str]:
    """The names in a list file, one a line."""
    try:
        text = read_file(path, _MAX_LIST_BYTES, may_be_empty=True).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadFile(path, "is not text in UTF-8") from error
    if text.startswith("\ufeff"):
        raise BadFile(path, "begins with a byte order mark; save it as plain UTF-8")
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise BadFile(path, f"has no name in line {number}, which the toolboxes stumble over")
    return [line.strip() for line in lines]


def _stems(folder: Path) -> list[str]:
    """The images of a folder, as the toolbox takes them: hidden ones are not meant."""
    if not folder.is_dir():
        raise BadFile(folder, "is not a folder")
    try:
        inside = list(folder.iterdir())
    except OSError as error:
        raise BadFile(folder, f"could not be read ({error.strerror})") from error
    return sorted(path.stem for path in inside if path.suffix == ".jpg" and path.name[0] != ".")


def _other_images(images: Path, masks: Path) -> Iterator[Finding]:
    """Images that are not taken for what they are called, though there is a mask of each."""
    others = (path for path in images.iterdir() if path.suffix != ".jpg")
    for path in sorted(path for path in others if path.suffix.lower() in _OTHER_ENDINGS):
        if (masks / f"{path.stem}.png").is_file():
            yield Finding("ending", path, "has a mask, and is not called *.jpg")
