"""The content of a data set's file: its splits, their use, and a hash of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from backbones.common.regular_file import open_regular
from transfer.datasets.image_names import folders_of_images

_CHUNK = 1 << 20


@dataclass(frozen=True)
class DetectionSplit:
    """One list of images: ``ImageSets/Main/<split>.txt`` of a VOC year, or a COCO JSON.

    Attributes:
        folder: The year's folder, or COCO's image folder.
        split: The split's name, or COCO's annotation file.
        images: Number of images in the original; None if unknown.
        suffix: Suffix after an image's name in VOC's layout; empty for any known extension.
    """

    folder: str
    split: str
    images: int | None = None
    suffix: str = ""


@dataclass(frozen=True, kw_only=True)
class MaskSplit:
    """Pairs of an image and a mask.

    Attributes:
        images: Folder of the images.
        masks: Folder of the masks with class numbers, named like the images.
        list: File with one name per line; empty for every image in the folder.
        count: Number of images in the original; None if unknown.
        suffix: Suffix after an image's name; empty for any known extension.
        mask_suffix: Suffix after a mask's name; empty for any known extension.
    """

    images: str
    masks: str
    list: str = ""
    count: int | None = None
    suffix: str = ""
    mask_suffix: str = ""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """The use of a data set for detection, with boxes.

    Attributes:
        root: Folder that the splits' paths start from.
        layout: ``"voc"`` or ``"coco"``.
        classes: Names, in the order of their labels.
        train: Training splits, which are joined.
        test: Test splits.
        headline_classes: Classes in the headline; empty for all.
        excluded: Excluded images, relative to ``root``.
    """

    root: Path
    layout: str
    classes: tuple[str, ...]
    train: tuple[DetectionSplit, ...]
    test: tuple[DetectionSplit, ...]
    headline_classes: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """The use of a data set for segmentation, with masks.

    Attributes:
        root: Folder that the splits' paths start from.
        classes: Names, in the order of their labels.
        train: Training split.
        test: Test split.
        ignore_index: Mask value of ignored pixels, 0 to 255.
        zero_is_ignored: Whether 0 in a mask is unlabelled and classes start at 1, as in ADE20K.
        headline_classes: Classes in the headline; empty for all.
        excluded: Excluded images, relative to ``root``.
    """

    root: Path
    classes: tuple[str, ...]
    train: MaskSplit
    test: MaskSplit
    ignore_index: int
    zero_is_ignored: bool
    headline_classes: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set on this machine.

    Attributes:
        name: Short name in every record: its file's name without ``.toml``.
        title: Name for sentences.
        root: Its folder.
        detection: Its use for detection, or None.
        segmentation: Its use for segmentation, or None.
        classifier_images: An ImageFolder to train classifiers on, or None.
        own: Whether it comes from a user's file, which may change.
    """

    name: str
    title: str
    root: Path
    detection: Detection | None
    segmentation: Segmentation | None
    classifier_images: Path | None = None
    own: bool = False

    def fingerprint(self, task: str) -> str:
        """Hash of the lists of images that a task trains and tests on, 16 hexadecimal digits.

        For a user's own data set, the file's classes, masks and folders are included; a known data
        set is identified by its name.
        """
        digest = hashlib.sha256()
        for path in self.lists(task):
            digest.update(os.fsencode(self._place(path)))
            for part in self._listing(path):
                digest.update(part)
        if self.own:
            digest.update(json.dumps(self._hashed(task), sort_keys=True).encode())
        return digest.hexdigest()[:16]

    def _listing(self, path: Path) -> Iterator[bytes]:
        """The bytes of a list, or the names in a folder, in pieces."""
        try:
            if path.is_dir():
                yield os.fsencode("\n".join(_names(path)))
                return
            with open_regular(path) as file:
                while part := file.read(_CHUNK):
                    yield part
        except OSError as error:
            advice = "its path is relative to 'root'; check the data set with 'transfer check'"
            if not self.own:
                advice = (
                    f"the head of configs/datasets/{self.name}.toml explains how to get the data"
                )
            raise UserError(
                f"The list of images '{path}' cannot be read ({error.strerror}); {advice}."
            ) from error

    def _place(self, path: Path) -> str:
        """A path relative to the data set's folder; a path outside it stays unchanged."""
        inside = path.is_relative_to(self.root)
        return str(path.relative_to(self.root) if inside else path)

    def _hashed(self, task: str) -> dict[str, Any]:
        """The file's entries for a task, without the numbers of images, which only check it."""
        part = self.detection if task == "detection" else self.segmentation
        assert part is not None  # it has lists of images
        entries = {**asdict(part), "root": self._place(part.root)}
        for split in ("train", "test"):
            entries[split] = _texts(entries[split])
        if not part.excluded:  # as in older versions, which lacked this entry
            del entries["excluded"]
        return entries

    def lists(self, task: str) -> list[Path]:
        """The files or folders that list a task's images, training images first.

        Raises:
            UserError: The data set does not support the task.
        """
        if task == "detection" and self.detection:
            part = self.detection
            splits = [*part.train, *part.test]
            if part.layout == "coco":
                return [part.root / split.split for split in splits]
            return [voc_list(part.root, split) for split in splits]
        if task == "segmentation" and self.segmentation:
            masks = self.segmentation
            return [
                masks.root / (split.list or split.images) for split in (masks.train, masks.test)
            ]
        other = "segmentation" if task == "detection" else "detection"
        raise UserError(
            f"The data set '{self.name}' does not support {task}; leave it out with --task "
            f'{other} on the command line, or with tasks = ["{other}"] in a suite.'
        )


def _names(folder: Path) -> list[str]:
    """The names where a folder's images are; hidden files are not images, and come and go."""
    return sorted(
        path.relative_to(folder).as_posix()
        for place in folders_of_images(folder)
        for path in place.iterdir()
        if path.name[0] != "."
    )


def _texts(entry: Any) -> Any:
    """Only the texts of an entry or list of entries: folders and names, not counts."""
    if isinstance(entry, dict):
        texts = {name: value for name, value in entry.items() if isinstance(value, str)}
        for name in ("suffix", "mask_suffix"):  # older versions lacked these entries
            if not texts.get(name):
                texts.pop(name, None)
        return texts
    return [_texts(one) for one in entry]


def voc_list(root: Path, split: DetectionSplit) -> Path:
    """The file that lists a VOC split's images, one per line."""
    return root / split.folder / "ImageSets" / "Main" / f"{split.split}.txt"
