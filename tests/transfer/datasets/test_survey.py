"""What is found of data that people have, and that a training refuses the same."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image

from backbones.common.errors import UserError
from backbones.common.image_file import header
from tests.support import drawn_data as draw
from transfer.datasets import as_loaded
from transfer.datasets.findings import LONGEST
from transfer.datasets.requirements import require_usable

EXIF = 0x0112


def refused(data: draw.DataSet, task: str) -> str:
    """The sentence with which a training is refused; empty where it is not."""
    try:
        require_usable(data, task)
    except UserError as error:
        return str(error)
    return ""


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[EXIF] = orientation
    return tags


# Classes that occur nowhere


def test_masks_of_0_and_255_are_of_one_class(tmp_path: Path) -> None:
    """All that was drawn is ignored, and the figure would be 100 % whatever is predicted."""
    data = draw.load(draw.draw_masks(tmp_path, [0, 255, 255]), draw.masks_toml())
    faults = draw.found(data)
    assert [kind for kind, *_ in faults] == ["one class"] * 2
    assert "only 'ground', none of 'part'; 66.7% of the pixels are ignored" in faults[0][2]
    assert faults[0][2].endswith("values are 0 and 255")
    assert "training pixels of only 'ground'" in refused(data, "segmentation")


@pytest.mark.parametrize("zero_is_ignored", [True, False])
def test_labels_that_are_one_off_are_noted_with_the_likely_cause(
    tmp_path: Path, zero_is_ignored: bool
) -> None:
    """Of three classes 0 to 2 with 0 ignored, or 1 to 3 with 0 a class."""
    values = [0, 1, 2] if zero_is_ignored else [1, 2, 3]
    extra = f"zero_is_ignored = {str(zero_is_ignored).lower()}"
    toml = draw.masks_toml(classes=("ground", "bolt", "nut"), extra=extra)
    data = draw.load(draw.draw_masks(tmp_path, values), toml)
    absent = "nut" if zero_is_ignored else "ground"
    nowhere = [detail for kind, _, detail in draw.found(data) if kind == "nowhere"]
    assert len(nowhere) == 2
    for detail in nowhere:
        assert f"pixel of '{absent}'" in detail
        assert f"if zero_is_ignored were {str(not zero_is_ignored).lower()}" in detail
    if zero_is_ignored:
        assert len(require_usable(data, "segmentation")) == 2
    else:
        assert "has the value 3" in refused(data, "segmentation")


def test_a_class_that_only_the_test_has_is_noted_and_one_that_is_difficult(tmp_path: Path) -> None:
    year = draw.draw_voc(tmp_path)
    washer, hook = draw.voc_object("washer"), draw.voc_object("hook", difficult=True)
    bolt, nut = draw.voc_object("bolt"), draw.voc_object("nut")
    (year / "Annotations/a.xml").write_text(draw.voc_xml(bolt, nut, hook))
    (year / "Annotations/d.xml").write_text(draw.voc_xml(bolt, nut, hook, washer))
    data = draw.load(tmp_path, draw.boxes_toml(classes=("bolt", "nut", "washer", "hook")))
    assert draw.found(data) == [
        ("nowhere", "train.txt", "has no training box of 'washer'"),
        ("nowhere", "train.txt", "has no training box that counts, only others, of 'hook'"),
        ("nowhere", "val.txt", "has no test box that counts, only others, of 'hook'"),
    ]
    notes = require_usable(data, "detection")
    assert len(notes) == 3
    assert str(year / "ImageSets/Main/train.txt") in notes[0]
    assert "'washer'" in notes[0]


def test_many_classes_that_occur_nowhere_are_counted(tmp_path: Path) -> None:
    draw.draw_voc(tmp_path)
    classes = ("bolt", "nut", *(f"c{number}" for number in range(20)))
    (train, *_) = draw.found(draw.load(tmp_path, draw.boxes_toml(classes=classes)))
    assert train[2].endswith("'c9' and 10 more")


# Nothing to train on


def difficult(folder: Path) -> str:
    year = draw.draw_voc(folder)
    for file in (year / "Annotations").iterdir():
        both = (draw.voc_object(name, difficult=file.stem != "d") for name in ("bolt", "nut"))
        file.write_text(draw.voc_xml(*both))
    return draw.boxes_toml()


def no_box(folder: Path) -> str:
    year = draw.draw_voc(folder)
    for name in "abc":
        (year / f"Annotations/{name}.xml").write_text(draw.voc_xml())
    return draw.boxes_toml()


def one_pixel_wide(folder: Path) -> str:
    year = draw.draw_voc(folder)
    for name in "abc":
        thin = draw.voc_object("bolt", box=(5, 5, 5, 20))
        (year / f"Annotations/{name}.xml").write_text(draw.voc_xml(thin))
    return draw.boxes_toml()


def change_all(**entries: object) -> Callable[[Path], str]:
    def spoil(folder: Path) -> str:
        draw.draw_coco(folder)
        change = lambda content: [one.update(entries) for one in content["annotations"]]  # noqa: E731
        draw.change_coco(folder / "train.json", change)
        return draw.coco_toml()

    return spoil


def no_annotation(folder: Path) -> str:
    draw.draw_coco(folder)
    draw.change_coco(folder / "train.json", lambda content: content["annotations"].clear())
    return draw.coco_toml()


def unlabelled(folder: Path) -> str:
    draw.draw_masks(folder)
    for name in "abc":
        draw.save_mask(folder / f"masks/train/{name}.png", [255])
    return draw.masks_toml()


@pytest.mark.parametrize(
    "spoil",
    [
        difficult,
        no_box,
        one_pixel_wide,
        no_annotation,
        unlabelled,
        change_all(area=0),
        change_all(iscrowd=1),
        change_all(ignore=1),
        change_all(bbox=[1, 1, 0.5, 9]),
    ],
)
def test_a_training_set_without_anything_to_train_on_is_a_fault(
    tmp_path: Path, spoil: Callable[[Path], str]
) -> None:
    data = draw.load(tmp_path, spoil(tmp_path))
    assert draw.faults(data) == {"nothing"}
    task = "segmentation" if data.segmentation else "detection"
    assert "without anything to learn" in refused(data, task)


def test_images_without_boxes_and_small_ones_are_noted(tmp_path: Path) -> None:
    year = draw.draw_voc(tmp_path)
    (year / "Annotations/a.xml").write_text(draw.voc_xml())
    draw.picture(1, (31, 60)).save(year / "JPEGImages/b.jpg")
    thing = draw.voc_object("bolt", box=(1, 1, 31, 31)) + draw.voc_object("nut", box=(1, 1, 9, 60))
    (year / "Annotations/b.xml").write_text(draw.voc_xml(thing, size=(31, 60)))
    faults = [
        one for one in draw.found(draw.load(tmp_path, draw.boxes_toml())) if one[0] != "small"
    ]
    assert [one[:2] for one in faults] == [("passed over", "a.jpg"), ("passed over", "b.jpg")]
    assert "no box: 1 of 3" in faults[0][2]
    assert "under 32 pixels on a side: 1 of 3" in faults[1][2]


def test_a_box_of_one_pixel_is_tested_on_and_not_trained_on(tmp_path: Path) -> None:
    """Both ends belong to it in VOC; MMDetection's widths are x2 - x1, and its offsets infinite."""
    from transfer.datasets.toolbox_datasets import VocBoxes

    year = draw.draw_voc(tmp_path)
    thin = draw.voc_object("bolt", box=(5, 5, 5, 20))
    for name in "abcd":
        both = draw.voc_object("bolt") + draw.voc_object("nut")
        (year / f"Annotations/{name}.xml").write_text(draw.voc_xml(both, thin))
    data = draw.load(tmp_path, draw.boxes_toml())
    assert {kind for kind, *_ in draw.found(data)} == {"thin"}
    for split, flags in (("train", [0, 0, 1]), ("val", [0, 0, 0])):
        dataset = VocBoxes(
            data_root=str(tmp_path),
            ann_file=f"parts/ImageSets/Main/{split}.txt",
            data_prefix={"sub_data_root": "parts/"},
            metainfo={"classes": ("bolt", "nut")},
            test_mode=split == "val",
        )
        instances = dataset.get_data_info(0)["instances"]
        assert [thing["ignore_flag"] for thing in instances] == flags


# Images that the loader changes


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize("ending", [".png", ".tif"])
@pytest.mark.parametrize(("top", "kind"), [(4080, "dark"), (65535, "deep")])
def test_images_of_16_bits_are_cut_to_8(
    tmp_path: Path, top: int, kind: str, ending: str, colours: bool
) -> None:
    """What is left of 12 bits is black; of all 16 it is the picture."""
    draw.draw_coco(tmp_path, ending=ending)
    values = np.linspace(0, top, 60 * 40).reshape(40, 60).astype(np.uint16)
    for place, path in enumerate(sorted((tmp_path / "images").iterdir())):
        picture = np.roll(values, 7 * place)
        cv2.imwrite(str(path), np.dstack([picture] * 3) if colours else picture)
    brightest = max(int(cv2.imread(str(path)).max()) for path in (tmp_path / "images").iterdir())
    data = draw.load(tmp_path, draw.coco_toml())
    (fault,) = (one for one in draw.found(data) if one[0] in ("dark", "deep"))
    assert fault[0] == kind
    assert f"of 4 such images, cut to 8 bits, is {brightest} of 255" in fault[2]
    if kind == "dark":
        assert "16-bit" in refused(data, "detection")
    else:
        assert any("16-bit" in note for note in require_usable(data, "detection"))


FORMATS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF"}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", FORMATS)
def test_sizes_are_those_that_the_loader_gives(
    tmp_path: Path, ending: str, orientation: int
) -> None:
    """Whatever this version of OpenCV does with EXIF in this format."""
    path = tmp_path / f"a{ending}"
    draw.picture(0).save(path, exif=exif(orientation))
    height, width = mmcv.imfrombytes(path.read_bytes()).shape[:2]
    image = header(path, path.read_bytes())
    assert as_loaded.loaded_size(image) == (width, height)
    assert as_loaded.orientation(image) == orientation


@pytest.mark.parametrize("turned", [True, False])
def test_advice_on_exif_is_that_of_the_loader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turned: bool
) -> None:
    """Boxes that were drawn on the upright picture fit only where the loader turns it."""
    draw.draw_coco(tmp_path, ending=".webp")
    for seed, name in enumerate("abcd"):
        lying = draw.picture(seed, (40, 60))
        lying.save(tmp_path / f"images/{name}.webp", exif=exif(6))
    monkeypatch.setattr(as_loaded, "turns", lambda form: turned)
    data = draw.load(tmp_path, draw.coco_toml())
    kinds = {kind for kind, *_ in draw.found(data)}
    assert kinds >= ({"turned"} if turned else {"not turned", "size"})
    assert "size" not in kinds or not turned
    assert ("40 × 60" in refused(data, "detection")) == (not turned)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif"])
def test_a_strip_is_found_before_it_is_resized_to_nothing(tmp_path: Path, ending: str) -> None:
    for part in ("train", "val"):
        folder = tmp_path / part
        draw.draw_masks(folder, [0, 1], ending=ending)
        name = f"{part}/{'a' if part == 'train' else 'd'}"
        size = (LONGEST * 4 + 1, 4)
        draw.picture(0, size).save(folder / f"images/{name}{ending}")
        draw.save_mask(folder / f"masks/{name}.png", [0, 1], size)
        data = draw.load(folder, draw.masks_toml())
        assert draw.faults(data) == {"long"}
        assert Path(name).name in refused(data, "segmentation")


@pytest.mark.parametrize("protocol", ["quick", "paper", "openmmlab", "openmmlab-coco"])
def test_the_longest_image_that_is_let_through_is_a_pixel_wide_to_every_protocol(
    protocol: str,
) -> None:
    """By the protocol's own steps, at the smallest scale that they draw."""
    from mmengine.config import Config

    from transfer.protocols import protocols
    from transfer.protocols.compose import pipelines

    for task in ("detection", "segmentation"):
        if protocol not in protocols.names(task):
            continue
        cfg = Config.fromfile(protocols.config_file(task, protocol))
        scales = []
        for step in (step for pipeline in pipelines(cfg) for step in pipeline):
            if scale := step.get("scale"):
                drawn_between = isinstance(scale[0], tuple)
                smallest = min(step.get("ratio_range", (1,)))
                least = min(scale) if drawn_between else scale
                scales.append(tuple(int(side * smallest) for side in least))
        assert scales
        strip = np.zeros((4, 4 * LONGEST, 3), np.uint8)
        for scale in scales:
            assert min(mmcv.imrescale(strip, scale).shape[:2]) >= 1


def test_images_of_other_kinds_are_noted(tmp_path: Path) -> None:
    """And loaded: a float has no 8 bits, an animation a first picture."""
    draw.draw_coco(tmp_path, ending=".tif")
    images = tmp_path / "images"
    draw.picture(0).convert("CMYK").save(images / "a.tif")
    draw.picture(1).convert("RGBA").save(images / "b.tif")
    draw.picture(2).save(images / "c.tif", save_all=True, append_images=[draw.picture(8)])
    faults = draw.found(draw.load(tmp_path, draw.coco_toml()))
    assert [one[:2] for one in faults] == [
        ("colour", "a.tif"), ("colour", "b.tif"), ("frames", "c.tif"),
    ]  # fmt: skip
    Image.fromarray(np.ones((40, 60), np.float32)).save(images / "d.tif")
    (fault,) = (
        one for one in draw.found(draw.load(tmp_path, draw.coco_toml())) if one[0] == "image"
    )
    assert fault[1] == "d.tif"
    assert "cannot be loaded by OpenCV" in fault[2]


# Masks that hold other numbers than were drawn


def lossy(form: str, **options: object) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        mask = np.repeat(np.arange(60, dtype=np.uint8)[None] % 3, 40, axis=0)
        file = io.BytesIO()
        Image.fromarray(mask).save(file, form, **options)
        path.write_bytes(file.getvalue())

    return save


def few_bits(path: Path) -> None:
    """Grey of 4 bits: 1 is loaded as 17."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", *draw.SIZE, 4, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes([0x01] * 30)) * 40)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("save", "said"),
    [
        (lossy("JPEG"), "lossy JPEG"),
        (lossy("WEBP"), "lossy WebP"),
        (lambda path: Image.new("RGB", draw.SIZE, (1, 1, 1)).save(path), "mode RGB, colours"),
        (lambda path: Image.new("LA", draw.SIZE).save(path), "mode LA"),
        (lambda path: Image.new("1", draw.SIZE).save(path), "mode 1"),
        (lambda path: Image.new("I;16", draw.SIZE).save(path), "mode I;16"),
        (lambda path: Image.new("L", draw.SIZE).save(path, exif=exif(3)), "EXIF"),
        (few_bits, "4 bits"),
    ],
)
def test_masks_that_cannot_be_used_are_faults_before_a_training(
    tmp_path: Path, save: Callable[[Path], None], said: str
) -> None:
    draw.draw_masks(tmp_path)
    save(tmp_path / "masks/train/b.png")
    data = draw.load(tmp_path, draw.masks_toml())
    (fault,) = (one for one in draw.found(data) if one[0] == "mask")
    assert fault[1] == "b.png"
    assert said in fault[2]
    assert said in refused(data, "segmentation")


def test_a_palette_and_lossless_formats_are_masks(tmp_path: Path) -> None:
    """Numbers are numbers, whatever colours a viewer gives them; only PNG needs no other name."""
    draw.draw_masks(tmp_path)
    values = np.resize(np.array([0, 1], np.uint8), (40, 60))
    mask = Image.fromarray(values)
    palette = mask.convert("P")
    palette.putpalette([9, 9, 9, 200, 0, 0])
    palette.save(tmp_path / "masks/train/a.png", bits=1)
    for name, ending in (("b", ".bmp"), ("c", ".TIF")):
        (tmp_path / f"masks/train/{name}.png").unlink()
        mask.save(tmp_path / f"masks/train/{name}{ending}")
    assert draw.found(draw.load(tmp_path, draw.masks_toml())) == []


def test_a_jpeg_mask_of_any_name_is_found(tmp_path: Path) -> None:
    draw.draw_masks(tmp_path)
    (tmp_path / "masks/val/d.png").unlink()
    lossy("JPEG")(tmp_path / "masks/val/d.jpg")
    data = draw.load(tmp_path, draw.masks_toml())
    assert [one[:2] for one in draw.found(data) if one[0] == "mask"] == [("mask", "d.jpg")]


def test_only_pixels_of_training_images_are_left_to_the_training(tmp_path: Path) -> None:
    """A check decodes them too; a training finds what is damaged as it loads it."""
    draw.draw_coco(tmp_path)
    path = tmp_path / "images/a.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    data = draw.load(tmp_path, draw.coco_toml())
    assert draw.faults(data) == {"image"}
    assert refused(data, "detection") == ""
