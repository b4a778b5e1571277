"""Small data sets of every layout, drawn in a folder, for tests to spoil."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transfer.datasets import catalogue
from transfer.datasets.data_set import DataSet
from transfer.datasets.findings import KINDS
from transfer.datasets.survey import survey

SIZE = (60, 40)

BOX = [5, 5, 30, 20]  # x y width height


def picture(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture of its own for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def load(folder: Path, text: str) -> DataSet:
    """A data set by what its file says, which lies in ``folder``."""
    (folder / "own.toml").write_text(text, encoding="utf-8")
    return catalogue.load(str(folder / "own.toml"), folder)


def boxes_toml(*, classes: Sequence[str] = ("bolt", "nut"), extra: str = "") -> str:
    """A file for :func:`draw_voc`."""
    return (
        f"{extra}\n[detection]\nclasses = {json.dumps(list(classes))}\n"
        'train = [{ folder = "parts", split = "train" }]\n'
        'test = [{ folder = "parts", split = "val" }]\n'
    )


def coco_toml(*, classes: Sequence[str] = ("bolt", "nut"), extra: str = "") -> str:
    """A file for :func:`draw_coco`."""
    return (
        f"{extra}\n[detection]\nclasses = {json.dumps(list(classes))}\n"
        'train = [{ folder = "images", split = "train.json" }]\n'
        'test = [{ folder = "images", split = "val.json" }]\n'
    )


def masks_toml(*, classes: Sequence[str] = ("ground", "part"), extra: str = "") -> str:
    """A file for :func:`draw_masks`."""
    return (
        f"[segmentation]\nclasses = {json.dumps(list(classes))}\n{extra}\n"
        '[segmentation.train]\nimages = "images/train"\nmasks = "masks/train"\n'
        '[segmentation.test]\nimages = "images/val"\nmasks = "masks/val"\n'
    )


def voc_xml(*objects: str, size: tuple[int, int] = SIZE) -> str:
    """An annotation with objects of :func:`voc_object`."""
    width, height = size
    head = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation>{head}{''.join(objects)}</annotation>"


def voc_object(name: str, *, box: Sequence[int] = (5, 5, 50, 38), difficult: bool = False) -> str:
    """One object of an annotation, with its corners from 1."""
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    corners = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    flag = f"<difficult>{int(difficult)}</difficult>"
    return f"<object><name>{name}</name>{flag}<bndbox>{corners}</bndbox></object>"


def draw_voc(folder: Path, *, ending: str = ".jpg", names: Sequence[str] = "abcd") -> Path:
    """Images of VOC's layout, all but the last to train on; returns the year's folder."""
    year = folder / "parts"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (year / part).mkdir(parents=True)
    for seed, name in enumerate(names):
        picture(seed).save(year / "JPEGImages" / f"{name}{ending}")
        both = voc_object("bolt") + voc_object("nut")
        (year / "Annotations" / f"{name}.xml").write_text(voc_xml(both))
    for split, listed in (("train", names[:-1]), ("val", names[-1:])):
        text = "".join(f"{name}\n" for name in listed)
        (year / "ImageSets/Main" / f"{split}.txt").write_text(text)
    return year


def draw_masks(
    folder: Path, values: Sequence[int] = (0, 1), *, ending: str = ".jpg", names: str = "abcd"
) -> Path:
    """Images with masks of some values, all but the last to train on; returns the folder."""
    for seed, name in enumerate(names):
        part = "val" if name == names[-1] else "train"
        for kind in ("images", "masks"):
            (folder / kind / part).mkdir(parents=True, exist_ok=True)
        picture(seed).save(folder / "images" / part / f"{name}{ending}")
        save_mask(folder / "masks" / part / f"{name}.png", values)
    return folder


def save_mask(path: Path, values: Sequence[int], size: tuple[int, int] = SIZE) -> None:
    """A mask that holds each value as often."""
    Image.fromarray(np.resize(np.array(values, np.uint8), size[::-1])).save(path)


def coco_content(images: dict[Any, str], size: tuple[int, int] = SIZE) -> dict[str, list[Any]]:
    """COCO's content of images by id, with a box of each of two classes on each."""
    width, height = size
    return {
        "images": [
            {"id": number, "file_name": name, "width": width, "height": height}
            for number, name in images.items()
        ],
        "annotations": [
            {
                "id": 2 * place + category,
                "image_id": number,
                "category_id": category,
                "bbox": list(BOX),
                "area": 600,
                "iscrowd": 0,
            }
            for place, number in enumerate(images)
            for category in (1, 2)
        ],
        "categories": [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}],
    }


def draw_coco(folder: Path, *, ending: str = ".jpg", size: tuple[int, int] = SIZE) -> Path:
    """Three images to train on and one to test on, in COCO's layout; returns the folder."""
    (folder / "images").mkdir(parents=True)
    for seed, name in enumerate("abcd"):
        picture(seed, size).save(folder / "images" / f"{name}{ending}")
    train = {number: f"{name}{ending}" for number, name in enumerate("abc", 1)}
    (folder / "train.json").write_text(json.dumps(coco_content(train, size)))
    (folder / "val.json").write_text(json.dumps(coco_content({4: f"d{ending}"}, size)))
    return folder


def change_coco(file: Path, change: Any) -> None:
    """Let a function change a COCO file's content."""
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def found(data: DataSet) -> list[tuple[str, str, str]]:
    """Kind, file and detail of every finding."""
    return [(one.kind, one.path.name, one.detail) for one in survey(data).findings]


def faults(data: DataSet) -> set[str]:
    """The kinds of the faults."""
    return {kind for kind, *_ in found(data) if KINDS[kind].is_fault}
