"""Data sets of a few images, in the layouts that people have, for what a test does to them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from transfer.datasets import catalogue

VOC_TOML = """name = "parts"
root = "data"
[detection]
classes = {classes}
train = [{{ folder = "parts", split = "train" }}]
test = [{{ folder = "parts", split = "val" }}]
"""
COCO_TOML = """name = "parts"
root = "data"
[detection]
layout = "coco"
classes = {classes}
train = [{{ folder = "images", split = "train.json" }}]
test = [{{ folder = "images", split = "val.json" }}]
"""
MASKS_TOML = """name = "ground"
root = "data"
[segmentation]
classes = ["ground", "bolt", "nut"]
zero_is_ignored = false
[segmentation.train]
images = "images/training"
masks = "annotations/training"
[segmentation.test]
images = "images/validation"
masks = "annotations/validation"
"""
CLASSES = ("bolt", "nut")


def object_xml(name, box=(5, 5, 50, 50), difficult=0):
    """One object of a VOC annotation."""
    sides = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    inside = "".join(f"<{side}>{edge}</{side}>" for side, edge in sides)
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox>{inside}</bndbox></object>"
    )


def picture(path, size=(96, 72), seed=0):
    """An image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


def voc(folder: Path, objects=None, classes=CLASSES, images=(6, 2)) -> Path:
    """Boxes in VOC's layout.

    Args:
        folder: Where.
        objects: XML of each image's objects by number; one of each class for all by default.
        classes: Their names.
        images: Trained on, and tested on.
    """
    usual = "".join(object_xml(name) for name in classes)
    parts = folder / "data" / "parts"
    lists = parts / "ImageSets" / "Main"
    for made in (parts / "Annotations", lists):
        made.mkdir(parents=True)
    names = [f"p{number:03}" for number in range(sum(images))]
    for number, name in enumerate(names):
        picture(parts / "JPEGImages" / f"{name}.jpg", seed=number)
        inside = (objects or {}).get(number, usual)
        (parts / "Annotations" / f"{name}.xml").write_text(
            "<annotation><size><width>96</width><height>72</height><depth>3</depth></size>"
            f"{inside}</annotation>",
            encoding="utf-8",
        )
    (lists / "train.txt").write_text("\n".join(names[: images[0]]) + "\n")
    (lists / "val.txt").write_text("\n".join(names[images[0] :]) + "\n")
    return _toml(folder, "parts", VOC_TOML, classes)


def coco(folder: Path, boxes=None, images=(6, 2)) -> Path:
    """Boxes in COCO's layout; ``boxes`` are annotations of the training file, without ids."""
    numbers = {"train": range(images[0]), "val": range(images[0], sum(images))}
    for split, members in numbers.items():
        usual = [
            {"image_id": n, "category_id": 1, "bbox": [5, 5, 40, 40], "area": 1600, "iscrowd": 0}
            for n in members
        ]
        objects = usual if boxes is None or split == "val" else boxes
        for number in members:
            picture(folder / "data" / "images" / f"{number}.jpg", seed=number)
        content = {
            "images": [
                {"id": n, "file_name": f"{n}.jpg", "width": 96, "height": 72} for n in members
            ],
            "categories": [{"id": n, "name": name} for n, name in enumerate(CLASSES, start=1)],
            "annotations": [{"id": n, **one} for n, one in enumerate(objects, start=1)],
        }
        (folder / "data" / f"{split}.json").write_text(json.dumps(content))
    return _toml(folder, "parts", COCO_TOML, CLASSES)


def masks(folder: Path, sizes=None, value=None, images=(6, 2)) -> Path:
    """Masks.

    Args:
        folder: Where.
        sizes: Width and height of images by number, where not 96 x 72.
        value: The only value of training masks; None for all classes.
        images: Trained on, and tested on.
    """
    for number in range(sum(images)):
        part = "training" if number < images[0] else "validation"
        width, height = (sizes or {}).get(number, (96, 72))
        picture(folder / "data" / "images" / part / f"s{number:03}.jpg", (width, height), number)
        mask = np.arange(width * height, dtype=np.int64).reshape(height, width) % 3
        if value is not None and part == "training":
            mask[:] = value
        path = folder / "data" / "annotations" / part / f"s{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask.astype(np.uint8)).save(path)
    return _toml(folder, "ground", MASKS_TOML, ())


def load(file: Path) -> catalogue.DataSet:
    """The data set that a file describes."""
    return catalogue.load(str(file), file.parent)


def _toml(folder: Path, name: str, text: str, classes) -> Path:
    path = folder / f"{name}.toml"
    quoted = json.dumps(list(classes), ensure_ascii=False)
    path.write_text(text.format(classes=quoted) if classes else text, encoding="utf-8")
    return path
