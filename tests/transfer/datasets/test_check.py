from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backbones.common.errors import UserError
from transfer.datasets import catalogue, check, survey
from transfer.datasets.data_set import DataSet
from transfer.datasets.findings import KINDS

WIDTH, HEIGHT = 60, 40
TRAIN = [f"{number:06}" for number in range(1, 13)]
TEST = [f"{number:06}" for number in range(21, 25)]

TOML = """
name = "toy"
title = "a toy"
root = "VOCdevkit"

[detection]
classes = ["cat", "dog"]
train = [{ folder = "VOC2012", split = "train", images = 12 }]
test = [{ folder = "VOC2012", split = "val", images = 4 }]

[segmentation]
classes = ["background", "cat", "dog"]
zero_is_ignored = false
[segmentation.train]
images = "VOC2012/JPEGImages"
masks = "VOC2012/SegmentationClassAug"
list = "VOC2012/ImageSets/Segmentation/train.txt"
[segmentation.test]
images = "VOC2012/JPEGImages"
masks = "VOC2012/SegmentationClassAug"
list = "VOC2012/ImageSets/Segmentation/val.txt"
"""

XML = """<annotation><size><width>60</width><height>40</height><depth>3</depth></size>
<object><name>cat</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>60</xmax><ymax>40</ymax></bndbox></object>
</annotation>"""


class Toy:
    """A small whole data set on disk, whose files can be spoilt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.voc = folder / "VOCdevkit" / "VOC2012"
        self.file = folder / "toy.toml"
        self.file.write_text(TOML)
        for part in ("JPEGImages", "Annotations", "SegmentationClassAug"):
            (self.voc / part).mkdir(parents=True)
        for task in ("Main", "Segmentation"):
            (self.voc / "ImageSets" / task).mkdir(parents=True)
            self.list(task, "train").write_text("\n".join(TRAIN) + "\n")
            self.list(task, "val").write_text("\n".join(TEST) + "\n")
        for name in TRAIN + TEST:
            draw(int(name)).save(self.image(name), quality=90)
            last = name in (TRAIN[-1], TEST[-1])
            self.xml(name).write_text(XML.replace("cat", "dog") if last else XML)
            save_mask(self.mask(name), [0, 1, 2, 255])

    def load(self) -> DataSet:
        return catalogue.load(str(self.file), self.folder)

    def image(self, name: str) -> Path:
        return self.voc / "JPEGImages" / f"{name}.jpg"

    def xml(self, name: str) -> Path:
        return self.voc / "Annotations" / f"{name}.xml"

    def mask(self, name: str) -> Path:
        return self.voc / "SegmentationClassAug" / f"{name}.png"

    def list(self, task: str, split: str) -> Path:
        return self.voc / "ImageSets" / task / f"{split}.txt"

    def change(self, path: Path, old: str, new: str) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def cut(self, path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 2 // 3])

    def found(self) -> list[tuple[str, str, str]]:
        """Kind, file and detail of each finding."""
        report = check.check(self.load())
        return [(f.kind, f.path.name, f.detail) for f in report.findings]


def draw(seed: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A picture of its own for each seed, the same at each size but for its sampling."""
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 6, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def save_mask(path: Path, values: list[int], size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    mask = np.resize(np.array(values, np.uint8), size[::-1])
    Image.fromarray(mask).save(path)


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    return Toy(tmp_path)


def test_whole_data_set_passes(toy: Toy) -> None:
    report = check.check(toy.load())
    assert report.findings == ()
    assert report.images == 16


def test_ten_planted_faults_are_all_named(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy.cut(toy.image("000001"))
    toy.image("000002").write_bytes(b"")
    toy.image("000003").unlink()
    toy.xml("000004").write_text(XML[:-15])
    toy.change(toy.xml("000005"), "<xmax>60<", "<xmax>61<")
    toy.change(toy.xml("000006"), "cat", "zebra")
    toy.change(toy.xml("000007"), "<width>60<", "<width>50<")
    save_mask(toy.mask("000008"), [0, 1, 3])
    save_mask(toy.mask("000009"), [0, 1], (WIDTH, HEIGHT - 1))
    shutil.copy(toy.image("000021"), toy.image("000010"))

    code = command(str(toy.file), "--fix-list", str(tmp_path / "fix.txt"))

    assert code == 1
    assert (tmp_path / "fix.txt").read_text().splitlines() == [
        f"VOC2012/JPEGImages/{number:06}.jpg" for number in range(1, 11)
    ]
    printed = capsys.readouterr().out
    assert str(toy.image("000003").absolute()) in printed
    for said in (
        "JPEGImages/000001.jpg: does not decode (image file is truncated",
        "JPEGImages/000002.jpg: is empty",
        "JPEGImages/000003.jpg: does not exist",
        "Annotations/000004.xml: is not well-formed XML",
        "Annotations/000005.xml: cat at (1, 1, 61, 40) in 60 × 40 pixels",
        "Annotations/000006.xml: names 'zebra'",
        "Annotations/000007.xml: states 50 × 40, the image has 60 × 40",
        "SegmentationClassAug/000008.png: has the value 3",
        "SegmentationClassAug/000009.png: has 60 × 39 pixels, but the image 60 × 40",
        "JPEGImages/000010.jpg: equals '000021.jpg'",
        "Checked 16 images of a toy: 10 faults.",
        "10 images to exclude are listed in",
    ):
        assert said in printed


def command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    check.add_arguments(parser)
    return check.run(parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("spoil", "kind", "name", "detail"),
    [
        (lambda t: t.list("Main", "val").unlink(), "list", "val.txt", "does not exist"),
        (lambda t: t.list("Main", "val").write_text(""), "list", "val.txt", "names no image"),
        (lambda t: t.list("Main", "val").write_bytes(b"\xff"), "list", "val.txt", "not text"),
        (
            lambda t: t.change(t.list("Main", "train"), "000001\n", ""),
            "count",
            "train.txt",
            "11 images where the original has 12",
        ),
        (
            lambda t: t.change(t.list("Main", "train"), "000001\n", "000002\n"),
            "twice",
            "train.txt",
            "lists '000002.jpg' 2 times",
        ),
        (
            lambda t: t.change(t.list("Segmentation", "train"), "000001\n", "000021\n"),
            "leak",
            "000021.jpg",
            "is listed for both",
        ),
        (
            lambda t: t.image("000001").write_text("no image"),
            "image",
            "000001.jpg",
            "is not an image of a known format",
        ),
        (
            lambda t: t.change(t.xml("000001"), "<xmax>60<", "<xmax>0<"),
            "box",
            "000001.xml",
            "cat at (1, 1, 0, 40)",
        ),
        (
            lambda t: t.change(t.xml("000001"), "<xmax>60<", "<xmax>1<"),
            "thin",
            "000001.xml",
            "cat at (1, 1, 1, 40)",
        ),
        (
            lambda t: t.change(t.xml("000001"), "<ymin>1<", "<ymin>0<"),
            "box",
            "000001.xml",
            "cat at (1, 0, 60, 40)",
        ),
        (
            lambda t: t.change(t.xml("000001"), "<difficult>0<", "<difficult>3<"),
            "annotation",
            "000001.xml",
            "the flag difficult '3'",
        ),
        (
            lambda t: t.xml("000001").write_text("<!DOCTYPE a [<!ENTITY b 'c'>]>" + XML),
            "annotation",
            "000001.xml",
            "declares the document type 'a'",
        ),
        (lambda t: t.xml("000001").unlink(), "annotation", "000001.xml", "does not exist"),
        (lambda t: t.mask("000001").unlink(), "mask", "000001.png", "does not exist"),
        (lambda t: t.cut(t.mask("000001")), "mask", "000001.png", "does not decode"),
        (
            lambda t: Image.new("RGB", (WIDTH, HEIGHT)).save(t.mask("000001")),
            "mask",
            "000001.png",
            "has the mode RGB",
        ),
        (
            lambda t: draw(1).convert("L").save(t.image("000001")),
            "colour",
            "000001.jpg",
            "its mode is L",
        ),
        (
            lambda t: draw(1).convert("CMYK").save(t.image("000001")),
            "colour",
            "000001.jpg",
            "its mode is CMYK",
        ),
        (
            lambda t: draw(21).save(t.image("000001"), quality=80),
            "alike",
            "000001.jpg",
            "looks like '000021.jpg'",
        ),
    ],
)
def test_each_fault_is_named(
    toy: Toy, spoil: Callable[[Toy], object], kind: str, name: str, detail: str
) -> None:
    spoil(toy)
    found = toy.found()
    assert [entry[:2] for entry in found] == [(kind, name)]
    assert detail in found[0][2]
    assert bool(check.check(toy.load()).faults) == KINDS[kind].is_fault


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_image_turned_or_mirrored_by_exif_in_its_own_size(toy: Toy, orientation: int) -> None:
    """Its boxes still fit, and may lie elsewhere."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    draw(1).save(toy.image("000001"), exif=exif)
    expected = [("turned", "000001.jpg", f"stored as 60 × 40, with orientation {orientation}")]
    assert toy.found() == (expected if orientation > 1 else [])


def test_image_turned_by_exif(toy: Toy) -> None:
    """Stored lying, loaded upright: boxes and mask that fit the upright image are right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(1, (HEIGHT, WIDTH)).save(toy.image("000001"), exif=exif)
    assert [kind for kind, *_ in toy.found()] == ["turned"]


def test_look_alikes_of_another_size_are_noted_but_flat_images_are_not(toy: Toy) -> None:
    for name in (*TRAIN[:2], *TEST[:2]):
        Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90 + int(name))).save(toy.image(name))
    draw(23, (WIDTH * 2, HEIGHT * 2)).save(toy.image(TRAIN[4]))
    toy.change(toy.xml(TRAIN[4]), "<width>60</width><height>40<", "<width>120</width><height>80<")
    save_mask(toy.mask(TRAIN[4]), [0], (WIDTH * 2, HEIGHT * 2))
    assert toy.found() == [("alike", "000005.jpg", "looks like '000023.jpg'")]


def test_boxes_that_are_mostly_small_are_noted(toy: Toy) -> None:
    """Of those that are trained on: background to the protocol that a GPU would take."""
    for name in TEST:
        toy.change(toy.xml(name), "<xmax>60<", "<xmax>32<")
    for name in TRAIN[:6]:
        toy.change(toy.xml(name), "<xmax>60<", "<xmax>32<")
        assert toy.found() == []
    toy.change(toy.xml(TRAIN[6]), "<ymin>1<", "<ymin>9<")
    text = "7 of 12 training boxes are under 32 pixels wide or high"
    assert toy.found() == [("small", "Annotations", text)]
    assert not check.check(toy.load()).faults
    for name in TRAIN[5:7]:
        toy.change(toy.xml(name), "<difficult>0<", "<difficult>1<")
    assert toy.found() == []


def test_folders_serve_as_lists(toy: Toy) -> None:
    """ADE20K's layout: every image of a folder, class numbers from 1."""
    for split, names in (("training", TRAIN), ("validation", TEST)):
        for kind, source in (("images", toy.image), ("annotations", toy.mask)):
            folder = toy.folder / "own" / kind / split
            folder.mkdir(parents=True)
            for name in names:
                shutil.copy(source(name), folder)
        (toy.folder / "own/images" / split / "._hidden.jpg").touch()
    toy.file.write_text(
        'name = "own"\nroot = "own"\n[segmentation]\nclasses = ["cat", "dog"]\n'
        "zero_is_ignored = true\n"
        '[segmentation.train]\nimages = "images/training"\nmasks = "annotations/training"\n'
        '[segmentation.test]\nimages = "images/validation"\nmasks = "annotations/validation"\n'
        "count = 5\n"
    )
    assert toy.found() == [("count", "validation", "4 images where the original has 5")]

    first = toy.folder / "own/images/training" / f"{TRAIN[0]}.jpg"
    first.rename(first.with_suffix(".JPG"))
    assert toy.found()[1:] == []
    draw(1).save(first)
    kind, name, text = toy.found()[0]
    assert (kind, name) == ("list", TRAIN[0])
    assert f"could be {TRAIN[0]}.JPG or {TRAIN[0]}.jpg (1 such names there)" in text
    first.unlink()

    shutil.rmtree(toy.folder / "own/images/validation")
    assert toy.found()[0] == ("list", "validation", "is no folder")


def test_names_that_are_not_utf8_are_named_and_have_a_hash(toy: Toy, tmp_path: Path) -> None:
    name = os.fsdecode(b"p\xe9re")
    try:
        shutil.copy(toy.image(TRAIN[0]), toy.voc / "JPEGImages" / f"{name}.jpg")
    except OSError:
        pytest.skip("this file system takes no such names")
    folder = toy.folder / "own/images"
    masks = toy.folder / "own/masks"
    folder.mkdir(parents=True)
    masks.mkdir()
    shutil.copy(toy.image(TRAIN[1]), folder / f"{name}.jpg")
    save_mask(masks / f"{name}.png", [7])
    toy.file.write_text(
        'name = "own"\nroot = "own"\n[segmentation]\nclasses = ["cat", "dog"]\n'
        "zero_is_ignored = true\n"
        '[segmentation.train]\nimages = "images"\nmasks = "masks"\n'
        '[segmentation.test]\nimages = "images"\nmasks = "masks"\n'
    )
    data = toy.load()
    assert len(data.fingerprint("segmentation")) == 16
    report = check.check(data)
    check._write(tmp_path / "left_out.txt", report.leave_out())
    assert (tmp_path / "left_out.txt").read_bytes() == b"images/p\xe9re.jpg\n"


def test_what_lies_in_a_files_place_is_named_and_not_taken_for_another_name(toy: Toy) -> None:
    pipe, folder, device = toy.image("000001"), toy.image("000002"), toy.mask("000003")
    for path in (pipe, folder, device):
        path.unlink()
    os.mkfifo(pipe)
    folder.mkdir()
    device.symlink_to("/dev/zero")
    details = {name: detail for _, name, detail in toy.found()}
    assert "named pipe" in details[pipe.name]
    assert "folder" in details[folder.name]
    assert "device" in details[device.name]
    assert not any(kind == "near" for kind, *_ in toy.found())


def test_coco_layout(toy: Toy) -> None:
    entries = [
        {"id": int(n), "file_name": f"{n}.jpg", "width": WIDTH, "height": HEIGHT} for n in TRAIN[:2]
    ]
    boxes = [[0, 0, 60.4, 40], [1, 1, 0, 5], [50, 0, 20, 5]]
    content = {
        "images": entries,
        "categories": [{"id": 7, "name": "cat"}],
        "annotations": [
            {"image_id": 1, "category_id": 7, "bbox": box, "area": box[2] * box[3], "id": i}
            for i, box in enumerate(boxes)
        ],
    }
    other = {"image_id": 2, "category_id": 7, "bbox": [1, 1, 40, 30], "area": 9, "id": 9}
    content["annotations"].append(other)
    entries[1]["width"] = 50
    (toy.folder / "train.json").write_text(json.dumps(content))
    entries[:] = entries[:0]
    (toy.folder / "val.json").write_text("[]")
    toy.file.write_text(
        'name = "own"\nroot = "."\n[detection]\nlayout = "coco"\nclasses = ["cat"]\n'
        'train = [{ folder = "VOCdevkit/VOC2012/JPEGImages", split = "train.json" }]\n'
        'test = [{ folder = "VOCdevkit/VOC2012/JPEGImages", split = "val.json" }]\n'
    )
    found = toy.found()
    assert [entry[:2] for entry in found] == [
        ("list", "val.json"),
        ("size", "000002.jpg"),
        ("box", "000001.jpg"),
        ("no area", "000001.jpg"),
    ]
    assert "not in COCO's layout" in found[0][2]
    assert found[2][2] == "cat at (50, 0, 20, 5) in 60 × 40 pixels"


def test_several_processes_find_the_same(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.cut(toy.image("000001"))
    alone = check.check(toy.load())
    steps: list[tuple[str, int, int | None]] = []
    monkeypatch.setattr(survey, "_ALONE", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    together = check.check(toy.load(), lambda *progress: steps.append(progress))
    assert together.findings == alone.findings
    assert steps[-1] == ("Images", 16, 16)


def test_full_release_of_ade20k_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ADE20K_2021_17_01").mkdir()
    with pytest.raises(UserError, match="is the full release of ADE20K"):
        command("ade20k", "--data-root", str(tmp_path))
    place = tmp_path / "ade" / "ADEChallengeData2016" / "images" / "ADE"
    place.mkdir(parents=True)
    with pytest.raises(UserError, match="is the full release of ADE20K"):
        command("ade20k", "--data-root", str(tmp_path))


def test_command(toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(toy.file)) == 0
    assert "Checked 16 images of a toy: no fault." in capsys.readouterr().out
    for name in TRAIN[:7]:
        toy.image(name).unlink()
    assert command(str(toy.file)) == 1
    assert "… and 2 more" in capsys.readouterr().out
    with pytest.raises(UserError, match="is not writable"):
        command(str(toy.file), "--fix-list", str(tmp_path / "no" / "such" / "folder"))
    with pytest.raises(UserError, match="was not found"):
        command("voc0712", "--data-root", str(tmp_path / "nowhere"))
