"""The catalogue of data sets: their splits and their places.

A data set is a small TOML file: known ones by name in ``configs/datasets``, a user's own by path.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from backbones.common.near_names import did_you_mean, suggestion
from backbones.common.paths import expanded, is_file, unknown_name
from backbones.common.resources import resource_dir
from backbones.common.toml_file import misfit, read_toml, unknown
from transfer.datasets.data_set import (
    DataSet,
    Detection,
    DetectionSplit,
    MaskSplit,
    Segmentation,
)
from transfer.datasets.name_lists import read_names

SAMPLE = "sample"
LAYOUTS = ("voc", "coco")

_BOXES = [{"folder": str, "split": str, "images": int, "suffix": str}]
_MASKS = {
    "images": str,
    "masks": str,
    "list": str,
    "count": int,
    "suffix": str,
    "mask_suffix": str,
}
FORM = {
    "name": str,
    "title": str,
    "root": str,
    "roots": [str],
    "archives": [str],
    "classifier_images": str,
    "exclude": str,
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
"""The entries of a data set's file."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A public archive of a data set; ``configs/archives.toml`` lists them.

    Attributes:
        name: Its file's name.
        url: Its download address.
        checksum: As :func:`backbones.weights.download.fetch` takes it.
        size: In bytes.
        unpacked: Most bytes that it may unpack to.
        inside: The required folder in the archive.
        place: The place of that folder in the data folder.
        proof: Paths in the data folder, any of which proves that it was unpacked.
        only: The required parts of ``inside``; empty for all.
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


def names() -> list[str]:
    """The names of the known data sets."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def load(name: str, data_root: Path) -> DataSet:
    """Read a data set's file and find its folder.

    Args:
        name: A name of :func:`names`, or a path that ends in ``.toml``.
        data_root: The folder that holds data sets; a user's file may name its own, relative to
            itself.

    Raises:
        UserError: Unknown, malformed, not on this machine, or a user's own file with the name of
            a known data set.
    """
    path = expanded(name) if name.endswith(".toml") else _folder() / f"{name}.toml"
    if not is_file(path):
        raise unknown_name("data set", name, names())
    if _is_own(path) and path.stem in names():
        raise UserError(
            f"'{path}' has the name of a known data set, so its results could be mistaken for "
            "those of "
            f"'{path.stem}'; rename the file: records use its name without .toml."
        )
    try:
        content = read_toml(path)
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}).") from error
    if wrong := misfit(content, FORM):
        raise UserError(f"In '{path}' {wrong}; see 'Your own data' in docs/data.md.")
    for entry, known in unknown(content, FORM):
        raise UserError(f"'{path}' has an unknown entry '{entry}': {suggestion(entry, known)}")
    try:
        root = _find_root(content, path, data_root)
        return _build(content, root, path)
    except (OSError, RuntimeError) as error:  # a name too long, an unknown home folder
        raise UserError(f"'{path}' names a folder that cannot be accessed ({error}).") from error


def found(name: str, data_root: Path) -> bool:
    """Whether a known data set is in the data folder with all its image lists."""
    return not lack(name, data_root)


def lack(name: str, data_root: Path) -> str:
    """The problem of a known data set, such as ``not found``; empty if complete."""
    try:
        data = load(name, data_root)
    except UserError:
        return f"not found under '{data_root}'"
    for task in ("detection", "segmentation"):
        for listed in data.lists(task) if getattr(data, task) else []:
            if not listed.exists():
                return f"incomplete: '{listed}' is missing"
    return ""


def archives(name: str) -> tuple[Archive, ...]:
    """The public archives of a known data set; empty for the drawn sample."""
    known = read_toml(_folder().parent / "archives.toml")
    wanted = read_toml(_folder() / f"{name}.toml").get("archives", [])
    return tuple(_archive(file, known[file]) for file in wanted)


def default_data_root() -> Path:
    """``$TRANSFER_DATA``, or ``data`` in the working directory."""
    return Path(os.environ.get("TRANSFER_DATA") or "data")


def _folder() -> Path:
    return resource_dir("configs", "configs") / "datasets"


def _is_own(path: Path) -> bool:
    """Whether a file is a user's own, not a known data set's."""
    return path.resolve().parent != _folder().resolve()


def _find_root(content: dict[str, Any], path: Path, data_root: Path) -> Path:
    if "roots" in content:
        candidates = [data_root / root for root in content["roots"]]
    else:
        candidates = [path.parent / Path(content.get("root", ".")).expanduser()]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate.absolute()
    looked = "' or '".join(str(c.absolute()) for c in candidates)
    if "roots" not in content:
        raise UserError(
            f"The data set '{path.stem}' was not found at '{looked}'; correct 'root' in "
            f"'{path}', which is relative to that file's folder."
        )
    fetched = f"the head of configs/datasets/{path.name} describes it"
    if content.get("archives"):
        fetched = f"'transfer prepare {path.stem.removesuffix('-heldout')}' downloads it"
    elif path.stem == SAMPLE:
        fetched = f"'transfer prepare {SAMPLE} --root {shlex.quote(str(data_root))}' draws it there"
    raise UserError(
        f"The data set '{path.stem}' was not found at '{looked}'. --data-root sets the folder of "
        f"data sets; {fetched}."
    )


def _build(content: dict[str, Any], root: Path, path: Path) -> DataSet:
    try:
        images = content.get("classifier_images")
        excluded = _excluded(content, path, root)
        detection, segmentation = content.get("detection"), content.get("segmentation")
        data = DataSet(
            name=path.stem,
            title=content.get("title", content.get("name", path.stem)),
            root=root,
            detection=_detection(detection, root, excluded) if detection is not None else None,
            segmentation=_segmentation(segmentation, root, excluded)
            if segmentation is not None
            else None,
            classifier_images=root / images if images else None,
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
    """The contradictions in a data set's file."""
    if not (data.detection or data.segmentation):
        yield "has neither [detection] nor [segmentation]"
    for part in (data.detection, data.segmentation):
        if part is None:
            continue
        if not part.classes:
            yield "lists no classes"
        times = Counter(part.classes)
        for name in times:
            if times[name] > 1:
                yield f"lists the class '{name}' twice"
        for name in part.headline_classes:
            if name not in times:
                yield (
                    f"has the headline class '{name}', which 'classes' does not list"
                    f"{did_you_mean(name, part.classes)}"
                )
    if data.detection and data.detection.layout not in LAYOUTS:
        yield f"has the layout '{data.detection.layout}'; choose {' or '.join(LAYOUTS)}"
    if data.detection and data.detection.layout == "coco":
        for split in (*data.detection.train, *data.detection.test):
            if split.suffix:
                yield "has a 'suffix' in COCO's layout, whose names include extensions"
    if data.detection and not (data.detection.train and data.detection.test):
        yield "lacks a training split or a test split"
    if data.segmentation and len(data.segmentation.classes) == 1:
        yield "lists only one class for masks, so every prediction is the same"
    if data.segmentation:
        yield from _fault_of_ignore_index(data.segmentation)


def _fault_of_ignore_index(masks: Segmentation) -> Iterator[str]:
    first, ignored = int(masks.zero_is_ignored), masks.ignore_index
    if not 0 <= ignored <= 255:
        yield f"has the ignore_index {ignored}, which is not 0 to 255"
    elif first <= ignored < first + len(masks.classes):
        name = masks.classes[ignored - first]
        yield f"has the ignore_index {ignored}, which is the value of class '{name}' in the masks"


def _archive(name: str, entries: dict[str, Any]) -> Archive:
    lists = {key: tuple(entries.get(key, ())) for key in ("proof", "only")}
    return Archive(name=name, **{**entries, **lists})


def _excluded(content: dict[str, Any], path: Path, root: Path) -> list[Path]:
    """The images that a data set's file excludes; the list's path is relative to the file."""
    if "exclude" not in content:
        return []
    return [root / name for name in read_names(path.parent / content["exclude"], "surrogateescape")]


def _detection(part: dict[str, Any], root: Path, excluded: list[Path]) -> Detection:
    root = root / part.get("root", "")
    splits = [*part["train"], *part["test"]]
    is_coco = bool(splits) and all(split["split"].endswith(".json") for split in splits)
    return Detection(
        root=root,
        layout=part.get("layout", "coco" if is_coco else "voc"),
        classes=tuple(part["classes"]),
        train=tuple(map(_boxes, part["train"])),
        test=tuple(map(_boxes, part["test"])),
        headline_classes=tuple(part.get("headline_classes", ())),
        excluded=_seen_from(root, excluded),
    )


def _segmentation(part: dict[str, Any], root: Path, excluded: list[Path]) -> Segmentation:
    root = root / part.get("root", "")
    return Segmentation(
        root=root,
        classes=tuple(part["classes"]),
        train=_masks(part["train"]),
        test=_masks(part["test"]),
        ignore_index=part.get("ignore_index", 255),
        zero_is_ignored=part.get("zero_is_ignored", False),
        headline_classes=tuple(part.get("headline_classes", ())),
        excluded=_seen_from(root, excluded),
    )


def _seen_from(root: Path, images: list[Path]) -> tuple[str, ...]:
    return tuple(sorted({os.path.relpath(image, root) for image in images}))


def _boxes(split: dict[str, Any]) -> DetectionSplit:
    return DetectionSplit(
        split["folder"], split["split"], split.get("images"), split.get("suffix", "")
    )


def _masks(split: dict[str, Any]) -> MaskSplit:
    return MaskSplit(
        images=split["images"],
        masks=split["masks"],
        list=split.get("list", ""),
        count=split.get("count"),
        suffix=split.get("suffix", ""),
        mask_suffix=split.get("mask_suffix", ""),
    )
