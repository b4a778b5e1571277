"""The data sets: which splits are trained and tested on, and where they lie.

A data set is a small TOML file: those of ``configs/datasets`` by name, a user's own by path.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from backbones.common.near_names import suggestion
from backbones.common.paths import expanded, unknown_name
from backbones.common.resources import resource_dir
from backbones.common.toml_file import misfit, read_toml, unknown

SAMPLE = "sample"
LAYOUTS = ("voc", "coco")

_BOXES = [{"folder": str, "split": str, "images": int}]
_MASKS = {"images": str, "masks": str, "list": str, "count": int}
_FORM = {
    "name": str,
    "title": str,
    "root": str,
    "roots": [str],
    "archives": [str],
    "classifier_images": str,
    "detection": {
        "root": str,
        "layout": str,
        "classes": [str],
        "headline_classes": [str],
        "train": _BOXES,
        "test": _BOXES,
    },
    "segmentation": {
        "root": str,
        "classes": [str],
        "headline_classes": [str],
        "ignore_index": int,
        "zero_is_ignored": bool,
        "train": _MASKS,
        "test": _MASKS,
    },
}
"""What the entries of a data set's file are."""


@dataclass(frozen=True)
class Archive:
    """A public archive that a data set is unpacked from; ``configs/archives.toml`` lists them.

    Attributes:
        name: Its file's name.
        url: Where it is fetched.
        checksum: As :func:`backbones.weights.download.fetch` takes it.
        size: In bytes.
        unpacked: Most bytes that it may unpack to.
        inside: The archive's folder that is wanted.
        place: What that folder becomes, in the data folder.
        proof: Paths in the data folder, any of which is there once it was unpacked.
        only: Parts of ``inside`` that are wanted; empty for all.
    """

    name: str
    url: str
    checksum: str
    size: int
    unpacked: int
    inside: str
    place: str
    proof: tuple[str, ...]
    only: tuple[str, ...] = ()


@dataclass(frozen=True)
class DetectionSplit:
    """One list of images: ``ImageSets/Main/<split>.txt`` of a VOC year, or a COCO JSON.

    Attributes:
        folder: The year's folder, or COCO's image folder.
        split: The split's name, or COCO's annotation file.
        images: How many images the original has; None where that is not known.
    """

    folder: str
    split: str
    images: int | None = None


@dataclass(frozen=True)
class MaskSplit:
    """Pairs of an image and a mask.

    Attributes:
        images: Folder of the JPEGs.
        masks: Folder of the index PNGs, one of each image's name.
        list: File of names, one a line; empty takes every image of the folder.
        count: How many images the original has; None where that is not known.
    """

    images: str
    masks: str
    list: str = ""
    count: int | None = None


@dataclass(frozen=True)
class Detection:
    """Boxes: how a data set is used for detection.

    Attributes:
        root: Folder that the splits' paths start from.
        layout: ``"voc"`` or ``"coco"``.
        classes: Names, in the order of their labels.
        train: Splits trained on, joined.
        test: Splits tested on.
        headline_classes: The classes whose mean is the headline; empty for all.
    """

    root: Path
    layout: str
    classes: tuple[str, ...]
    train: tuple[DetectionSplit, ...]
    test: tuple[DetectionSplit, ...]
    headline_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
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
    """

    root: Path
    classes: tuple[str, ...]
    train: MaskSplit
    test: MaskSplit
    ignore_index: int
    zero_is_ignored: bool
    headline_classes: tuple[str, ...] = ()


@dataclass(frozen=True)
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
        for path in self._lists(task):
            digest.update(os.fsencode(self._place(path)))
            digest.update(self._listing(path))
        if self.own:
            digest.update(json.dumps(self._told(task), sort_keys=True).encode())
        return digest.hexdigest()[:16]

    def _listing(self, path: Path) -> bytes:
        try:
            if path.is_dir():
                return os.fsencode("\n".join(sorted(entry.name for entry in path.iterdir())))
            return path.read_bytes()
        except OSError as error:
            advice = "check the data set with 'transfer check'"
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
        return told

    def _lists(self, task: str) -> list[Path]:
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
        return {name: value for name, value in told.items() if isinstance(value, str)}
    return [_texts(one) for one in told]


def voc_list(root: Path, split: DetectionSplit) -> Path:
    """The file that names a VOC split's images, one a line."""
    return root / split.folder / "ImageSets" / "Main" / f"{split.split}.txt"


def names() -> list[str]:
    """The data sets that are known by name."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def load(name: str, data_root: Path) -> DataSet:
    """Read a data set's file and find its folder.

    Args:
        name: A name of :func:`names`, or a path that ends in ``.toml``.
        data_root: The folder that holds data sets; a user's file may name its own, relative to
            itself.

    Raises:
        UserError: Unknown, malformed, not on this machine, or of a user's own with the name of
            another that is known.
    """
    path = expanded(name) if name.endswith(".toml") else _folder() / f"{name}.toml"
    if not path.is_file():
        raise unknown_name("data set", name, names())
    if _is_own(path) and path.stem in names():
        raise UserError(
            f"'{path}' has the name of a known data set, and its results would pass for those of "
            f"'{path.stem}'; rename the file: its name without .toml stands in every record."
        )
    try:
        content = read_toml(path)
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}).") from error
    if wrong := misfit(content, _FORM):
        raise UserError(f"In '{path}' {wrong}; see 'Your own data' in docs/data.md.")
    for entry, known in unknown(content, _FORM):
        raise UserError(
            f"'{path}' has an entry that is not known, '{entry}': {suggestion(entry, known)}"
        )
    try:
        root = _find_root(content, path, data_root)
        return _build(content, root, path)
    except (OSError, RuntimeError) as error:  # a name too long, the home of nobody
        raise UserError(f"'{path}' names a folder that cannot be looked at ({error}).") from error


def found(name: str, data_root: Path) -> bool:
    """Whether a named data set lies in the data folder with all its lists of images."""
    return not lack(name, data_root)


def lack(name: str, data_root: Path) -> str:
    """What is to be said of a named data set, such as ``not found``; empty where it is whole."""
    try:
        data = load(name, data_root)
    except UserError:
        return f"not found under '{data_root}'"
    for task in ("detection", "segmentation"):
        for listed in data._lists(task) if getattr(data, task) else []:
            if not listed.exists():
                return f"not whole, without '{listed}'"
    return ""


def archives(name: str) -> tuple[Archive, ...]:
    """The public archives that a named data set is unpacked from; none for one that is drawn."""
    known = read_toml(_folder().parent / "archives.toml")
    wanted = read_toml(_folder() / f"{name}.toml").get("archives", [])
    return tuple(_archive(file, known[file]) for file in wanted)


def default_data_root() -> Path:
    """``$TRANSFER_DATA``, or ``data`` in the working directory."""
    return Path(os.environ.get("TRANSFER_DATA") or "data")


def _folder() -> Path:
    return resource_dir("configs", "configs") / "datasets"


def _is_own(path: Path) -> bool:
    """Whether a file is a user's, not one of those that are known by name."""
    return path.resolve().parent != _folder().resolve()


def _find_root(content: dict[str, Any], path: Path, data_root: Path) -> Path:
    if "root" in content:
        candidates = [path.parent / Path(content["root"]).expanduser()]
    else:
        candidates = [data_root / root for root in content.get("roots", [])]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    if not candidates:
        raise UserError(
            f"'{path}' names no folder: give 'root'; see 'Your own data' in docs/data.md."
        )
    looked = "' or '".join(str(c) for c in candidates)
    if "root" in content:
        raise UserError(
            f"The data set '{path.stem}' was not found: looked for '{looked}'; correct 'root' in "
            f"'{path}', which starts from that file's folder."
        )
    fetched = f"the head of configs/datasets/{path.name} says what it is"
    if content.get("archives"):
        fetched = f"'transfer prepare {path.stem.removesuffix('-heldout')}' fetches it"
    elif path.stem == SAMPLE:
        fetched = f"'transfer prepare {SAMPLE} --root {shlex.quote(str(data_root))}' draws it there"
    raise UserError(
        f"The data set '{path.stem}' was not found: looked for '{looked}'. --data-root says where "
        f"data sets are; {fetched}."
    )


def _build(content: dict[str, Any], root: Path, path: Path) -> DataSet:
    try:
        images = content.get("classifier_images")
        data = DataSet(
            path.stem,
            content.get("title", content["name"]),
            root,
            _detection(content["detection"], root) if "detection" in content else None,
            _segmentation(content["segmentation"], root) if "segmentation" in content else None,
            root / images if images else None,
            own=_is_own(path),
        )
    except KeyError as error:
        raise UserError(
            f"'{path}' lacks the entry {error}; see 'Your own data' in docs/data.md."
        ) from error
    for fault in _faults(data):
        raise UserError(f"'{path}' {fault}; see 'Your own data' in docs/data.md.")
    return data


def _faults(data: DataSet) -> Iterator[str]:
    """What a data set's file says that cannot be meant."""
    if not (data.detection or data.segmentation):
        yield "has neither [detection] nor [segmentation]"
    for part in (data.detection, data.segmentation):
        if part is None:
            continue
        if not part.classes:
            yield "lists no class"
        for name in part.classes:
            if part.classes.count(name) > 1:
                yield f"lists the class '{name}' twice"
        for name in part.headline_classes:
            if name not in part.classes:
                yield f"has the headline class '{name}', which 'classes' does not list"
    if data.detection and data.detection.layout not in LAYOUTS:
        yield f"has the layout '{data.detection.layout}'; there are {' and '.join(LAYOUTS)}"
    if data.detection and not (data.detection.train and data.detection.test):
        yield "names no split to train on, or none to test on"
    if data.segmentation and len(data.segmentation.classes) == 1:
        yield "lists one class for masks, so that there is nothing to tell it from"
    if data.segmentation:
        yield from _fault_of_ignore_index(data.segmentation)
    if not (data.detection or data.segmentation):
        yield "serves neither detection nor segmentation"


def _fault_of_ignore_index(masks: Segmentation) -> Iterator[str]:
    first, ignored = int(masks.zero_is_ignored), masks.ignore_index
    if not 0 <= ignored <= 255:
        yield f"has the ignore_index {ignored}, which is not 0 to 255"
    elif first <= ignored < first + len(masks.classes):
        name = masks.classes[ignored - first]
        yield f"has the ignore_index {ignored}, which is the class '{name}' in the masks"


def _archive(name: str, entries: dict[str, Any]) -> Archive:
    lists = {key: tuple(entries.get(key, ())) for key in ("proof", "only")}
    return Archive(name=name, **{**entries, **lists})


def _detection(part: dict[str, Any], root: Path) -> Detection:
    return Detection(
        root / part.get("root", ""),
        part.get("layout", "voc"),
        tuple(part["classes"]),
        tuple(map(_boxes, part["train"])),
        tuple(map(_boxes, part["test"])),
        tuple(part.get("headline_classes", ())),
    )


def _segmentation(part: dict[str, Any], root: Path) -> Segmentation:
    return Segmentation(
        root / part.get("root", ""),
        tuple(part["classes"]),
        _masks(part["train"]),
        _masks(part["test"]),
        part.get("ignore_index", 255),
        part["zero_is_ignored"],
        tuple(part.get("headline_classes", ())),
    )


def _boxes(split: dict[str, Any]) -> DetectionSplit:
    return DetectionSplit(split["folder"], split["split"], split.get("images"))


def _masks(split: dict[str, Any]) -> MaskSplit:
    return MaskSplit(split["images"], split["masks"], split.get("list", ""), split.get("count"))
