"""The content of a data set: each image with its annotation and mask, and the splits.

Checks and trainings find the files of a split with the same functions.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backbones.common.near_names import did_you_mean
from backbones.common.paths import nearby
from backbones.common.regular_file import UnfitFile
from transfer.datasets.coco_json import CocoImage, read_coco
from transfer.datasets.coco_likely import likely_cause
from transfer.datasets.data_set import (
    DataSet,
    Detection,
    DetectionSplit,
    MaskSplit,
    Segmentation,
    voc_list,
)
from transfer.datasets.findings import Finding
from transfer.datasets.image_names import ENDINGS, ImageFinder, Neighbours
from transfer.datasets.name_lists import read_names


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image with its annotation and mask.

    Attributes:
        name: Its name in the list.
        image: The image.
        annotation: Its VOC XML, if it is used for detection.
        coco: Its entry in a COCO file, if it has one.
        mask: Its mask, if it is used for segmentation.
    """

    name: str
    image: Path
    annotation: Path | None = None
    coco: CocoImage | None = None
    mask: Path | None = None


@dataclass(kw_only=True)
class Listing:
    """Everything to check.

    Attributes:
        items: Items by image; one for both tasks appears once.
        train: Training images, by task.
        test: Test images, by task.
        sources: Their lists or folders, by part and task.
        left_out: Listed images that ``exclude`` removes.
        findings: Faults of the lists themselves.
    """

    items: dict[Path, Item] = field(default_factory=dict)
    train: dict[str, list[Path]] = field(default_factory=dict)
    test: dict[str, list[Path]] = field(default_factory=dict)
    sources: dict[tuple[str, str], list[Path]] = field(default_factory=dict)
    left_out: set[Path] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)

    def add(self, task: str, part: str, source: Path, items: Sequence[Item]) -> None:
        """Add one split.

        Args:
            task: ``"detection"`` or ``"segmentation"``.
            part: ``"train"`` or ``"test"``.
            source: The list or folder of the images.
            items: Its items.
        """
        for image, count in Counter(item.image for item in items).items():
            if count > 1:
                self.findings.append(
                    Finding("twice", source, f"lists '{image.name}' {count} times")
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
        self.sources.setdefault((part, task), []).append(source)

    def images_of(self, part: str, task: str) -> list[Path]:
        """A task's training and test images, without duplicates."""
        return list(dict.fromkeys(getattr(self, part).get(task, [])))


def list_all(data: DataSet) -> Listing:
    """List a data set's training and test images; unreadable lists become findings."""
    listing = Listing()
    if boxes := data.detection:
        for part, splits in (("train", boxes.train), ("test", boxes.test)):
            for split in splits:
                _add_boxes(listing, boxes, part, split)
    if masks := data.segmentation:
        for part, pairs in (("train", masks.train), ("test", masks.test)):
            _add_masks(listing, masks, part, pairs)
    return listing


def voc_items(folder: Path, source: Path, suffix: str = "") -> Iterator[Item]:
    """The images of a list in VOC's layout.

    Args:
        folder: The year's folder.
        source: The list.
        suffix: Suffix after an image's name; empty for any known extension.

    Raises:
        BadFile: The list cannot be read, or a name has two images.
    """
    images = ImageFinder(folder / "JPEGImages", suffix)
    for name in read_names(source):
        yield Item(
            name=name, image=images.find(name), annotation=folder / "Annotations" / f"{name}.xml"
        )


def mask_items(
    images: Path, masks: Path, source: Path | None, suffix: str = "", mask_suffix: str = ""
) -> Iterator[Item]:
    """The images of a folder, or of a list, with their masks.

    Args:
        images: Folder of the images.
        masks: Folder of the masks.
        source: The list; None for every image of the folder.
        suffix: Suffix after an image's name; empty for any known extension.
        mask_suffix: Suffix after a mask's name; empty for any known extension.

    Raises:
        BadFile: The list or the folder cannot be read, or a name has two images.
    """
    finder = ImageFinder(images, suffix, but=".png" if images == masks else "")
    labels = ImageFinder(masks, mask_suffix, rather=".png", choice="mask_suffix")
    for name in read_names(source) if source else finder.names():
        yield Item(name=name, image=finder.find(name), mask=labels.find(name))


def keep(items: Iterable[Item], root: Path, excluded: Collection[str]) -> list[Item]:
    """The items whose images are not excluded.

    Args:
        items: Items of one split.
        root: Folder of the relative paths in ``excluded``.
        excluded: Excluded images.
    """
    out = {os.path.normpath(root / image) for image in excluded}
    return [item for item in items if not out or os.path.normpath(item.image) not in out]


@dataclass(frozen=True, kw_only=True)
class _Split:
    """One split: its task and part, the source of its images, and their expected number."""

    task: str
    part: str
    source: Path
    expected: int | None
    data: Detection | Segmentation
    near: dict[str, Neighbours]


def _add_boxes(listing: Listing, boxes: Detection, part: str, split: DetectionSplit) -> None:
    folder = boxes.root / split.folder
    if boxes.layout == "coco":
        source, near = boxes.root / split.split, {"image": Neighbours(folder, with_ending=True)}
        items = _coco_items(listing, source, folder, boxes)
    else:
        source = voc_list(boxes.root, split)
        near = {
            "image": Neighbours(folder / "JPEGImages"),
            "annotation": Neighbours(folder / "Annotations", endings=(".xml",)),
        }
        items = voc_items(folder, source, split.suffix)
    _add(
        listing,
        _Split(
            task="detection", part=part, source=source, expected=split.images, data=boxes, near=near
        ),
        items,
    )


def _add_masks(listing: Listing, data: Segmentation, part: str, split: MaskSplit) -> None:
    images, masks = data.root / split.images, data.root / split.masks
    source = data.root / split.list if split.list else None
    near = {
        "image": Neighbours(images, suffix=split.suffix),
        "mask": Neighbours(masks, longer=True, suffix=split.mask_suffix),
    }
    _add(
        listing,
        _Split(
            task="segmentation",
            part=part,
            source=source or images,
            expected=split.count,
            data=data,
            near=near,
        ),
        mask_items(images, masks, source, split.suffix, split.mask_suffix),
    )


def _coco_items(listing: Listing, source: Path, folder: Path, boxes: Detection) -> Iterator[Item]:
    """The images of a COCO file, whose faults are added to the listing."""
    found = read_coco(source)
    faults = [*filter(None, [likely_cause(found)]), *found.faults]
    for name in boxes.classes:
        if name not in found.classes:
            faults.append(f"has no category '{name}'{did_you_mean(name, found.classes)}")
    listing.findings += [Finding("coco", source, fault) for fault in faults]
    listing.findings += [Finding("orphan", source, orphan) for orphan in found.orphans]
    yield from (
        Item(name=image.name, image=folder / image.name, coco=image) for image in found.images
    )


def _add(listing: Listing, split: _Split, items: Iterator[Item]) -> None:
    """Add a split, or the faults of its list."""
    source, excluded = split.source, split.data.excluded
    try:
        found = list(items)
    except UnfitFile as error:
        detail = f"{error.reason}{nearby(error.path)}"
        listing.findings.append(Finding("list", error.path, detail))
        return
    if not found:
        lacks = f"holds no image ({', '.join(ENDINGS)})" if source.is_dir() else "names no image"
        listing.findings.append(Finding("list", source, lacks))
    elif split.expected is not None and len(found) != split.expected:
        detail = f"{len(found)} images where the original has {split.expected}"
        listing.findings.append(Finding("count", source, detail))
    if found and (gone := [n.folder for n in split.near.values() if not n.folder.is_dir()]):
        listing.findings += [Finding("list", one, f"is no folder{nearby(one)}") for one in gone]
        return
    kept = keep(found, split.data.root, excluded)
    listing.left_out.update({item.image for item in found} - {item.image for item in kept})
    if found and not kept:
        listing.findings.append(Finding("list", source, "has no image that is not excluded"))
    misnamed = dict(_misnamed(kept, split))
    listing.findings += [
        Finding("near", source, f"{detail} ({len(group)} of {len(kept)} names)")
        for detail, group in misnamed.items()
    ]
    lost = {item.image for group in misnamed.values() for item in group}
    listing.add(split.task, split.part, source, [item for item in kept if item.image not in lost])


def _misnamed(items: list[Item], split: _Split) -> Iterator[tuple[str, list[Item]]]:
    """The items whose files have another name, grouped by the difference."""
    explained_images: set[Path] = set()
    for kind, near in split.near.items():
        groups: dict[str, list[tuple[Item, str]]] = defaultdict(list)
        for item in (item for item in items if item.image not in explained_images):
            is_there = os.path.lexists(getattr(item, kind))  # though it may be no regular file
            if not is_there and (hit := near.instead_of(item.name)):
                found, difference = hit
                groups[difference].append((item, found))
        for difference, group in groups.items():
            item, found = group[0]
            what = f"names '{item.name}', but the file of its {kind} is '{found}'"
            explained = [item for item, _ in group]
            explained_images.update(item.image for item in explained)
            yield f"{what}: {difference}", explained
