"""What a data set's file says: where its splits lie, what they are for, and a hash of it."""

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

_CHUNK = 1 << 20


@dataclass(frozen=True)
class DetectionSplit:
    """One list of images: ``ImageSets/Main/<split>.txt`` of a VOC year, or a COCO JSON.

    Attributes:
        folder: The year's folder, or COCO's image folder.
        split: The split's name, or COCO's annotation file.
        images: How many images the original has; None where that is not known.
        suffix: What follows an image's name in VOC's layout; empty for any known ending.
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
        masks: Folder of the masks of class numbers, one of each image's name.
        list: File of names, one a line; empty takes every image of the folder.
        count: How many images the original has; None where that is not known.
        suffix: What follows an image's name; empty for any known ending.
    """

    images: str
    masks: str
    list: str = ""
    count: int | None = None
    suffix: str = ""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """Boxes: how a data set is used for detection.

    Attributes:
        root: Folder that the splits' paths start from.
        layout: ``"voc"`` or ``"coco"``.
        classes: Names, in the order of their labels.
        train: Splits trained on, joined.
        test: Splits tested on.
        headline_classes: The classes whose mean is the headline; empty for all.
        excluded: Images that are left out, as seen from ``root``.
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
    """Masks: how a data set is used for segmentation.

    Attributes:
        root: Folder that the splits' paths start from.
        classes: Names, in the order of their labels.
        train: Trained on.
        test: Tested on.
        ignore_index: Mask value that is not judged, 0 to 255.
        zero_is_ignored: Whether 0 in a mask is unlabelled and classes start at 1, as in ADE20K.
        headline_classes: The classes whose mean is the headline; empty for all.
        excluded: Images that are left out, as seen from ``root``.
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
    """A data set that was found.

    Attributes:
        name: Short name, part of every record: that of its file, without ``.toml``.
        title: What to call it in sentences.
        root: Where it lies.
        detection: How it serves detection, or None.
        segmentation: How it serves segmentation, or None.
        classifier_images: An ImageFolder to train classifiers on, or None.
        own: Whether a user's file says all this: it may say something else tomorrow.
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

        Of a user's own data, also of what the file says of classes, masks and folders; of a named
        data set the name stands for that.
        """
        digest = hashlib.sha256()
        for path in self.lists(task):
            digest.update(os.fsencode(self._place(path)))
            for part in self._listing(path):
                digest.update(part)
        if self.own:
            digest.update(json.dumps(self._told(task), sort_keys=True).encode())
        return digest.hexdigest()[:16]

    def _listing(self, path: Path) -> Iterator[bytes]:
        """The bytes of a list, or the names in a folder, piece by piece."""
        try:
            if path.is_dir():  # hidden files are nobody's images, and come and go
                names = (entry.name for entry in path.iterdir() if entry.name[0] != ".")
                yield os.fsencode("\n".join(sorted(names)))
                return
            with open_regular(path) as file:
                while part := file.read(_CHUNK):
                    yield part
        except OSError as error:
            advice = "its path starts from 'root'; check the data set with 'transfer check'"
            if not self.own:
                advice = f"the head of configs/datasets/{self.name}.toml says how data get there"
            raise UserError(
                f"The list of images '{path}' cannot be read ({error.strerror}); {advice}."
            ) from error

    def _place(self, path: Path) -> str:
        """A path as seen from the data set's folder; one that leads elsewhere as it is."""
        inside = path.is_relative_to(self.root)
        return str(path.relative_to(self.root) if inside else path)

    def _told(self, task: str) -> dict[str, Any]:
        """What the file says of a task, but for the numbers of images: they only check it."""
        part = self.detection if task == "detection" else self.segmentation
        assert part is not None  # it has lists of images
        told = {**asdict(part), "root": self._place(part.root)}
        for split in ("train", "test"):
            told[split] = _texts(told[split])
        if not part.excluded:  # as before there was such an entry
            del told["excluded"]
        return told

    def lists(self, task: str) -> list[Path]:
        """The files or folders that name a task's images, those of training first.

        Raises:
            UserError: The data set has nothing for the task.
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
            f"The data set '{self.name}' has nothing for {task}; on the command line, --task "
            f'{other} does without it, in a suite tasks = ["{other}"].'
        )


def _texts(told: Any) -> Any:
    """Tables of entries with only those that are texts: folders and names, not counts."""
    if isinstance(told, dict):
        texts = {name: value for name, value in told.items() if isinstance(value, str)}
        if not texts["suffix"]:  # as before there was such an entry
            del texts["suffix"]
        return texts
    return [_texts(one) for one in told]


def voc_list(root: Path, split: DetectionSplit) -> Path:
    """The file that names a VOC split's images, one a line."""
    return root / split.folder / "ImageSets" / "Main" / f"{split.split}.txt"
