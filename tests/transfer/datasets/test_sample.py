"""The built-in sample: layouts, labels, determinism, and what happens when drawing goes wrong."""

import errno
import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backbones.common.errors import UserError
from transfer.datasets.sample import (
    CLASSES,
    SEGMENTATION_CLASSES,
    STUFF,
    Sizes,
    draw_sample,
    ensure_sample,
    scenes,
    writer,
)
from transfer.datasets.sample.surroundings import draw_ground

SMALL = Sizes(
    classification_train_per_class=2,
    classification_val_per_class=1,
    detection_2007_trainval=8,
    detection_2007_test=8,
    detection_2012_trainval=8,
    segmentation_training=8,
    segmentation_validation=8,
)
TINY = Sizes(
    classification_train_per_class=1,
    classification_val_per_class=1,
    detection_2007_trainval=1,
    detection_2007_test=1,
    detection_2012_trainval=1,
    segmentation_training=1,
    segmentation_validation=1,
)


def contents(root: Path) -> dict[str, bytes]:
    """Reads every file below a folder, by path relative to it."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn") / "sample"
    draw_sample(root, seed=3, sizes=SMALL, workers=1)
    return root


@pytest.fixture
def tiny(tmp_path):
    return ensure_sample(tmp_path / "sample", sizes=TINY, workers=1)


# --- Layouts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "count"), [("train", 2), ("val", 1)])
def test_image_folder_layout(sample, split, count):
    folder = sample / "ImageFolder" / split
    assert sorted(path.name for path in folder.iterdir()) == sorted(SEGMENTATION_CLASSES)
    for name in SEGMENTATION_CLASSES:
        images = sorted((folder / name).glob("*.jpg"))
        assert len(images) == count
        for path in images:
            with Image.open(path) as image:
                assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 64))


@pytest.mark.parametrize("year_split", ["2007/trainval", "2007/test", "2012/trainval"])
def test_voc_layout(sample, year_split):
    year, split = year_split.split("/")
    folder = sample / f"VOCdevkit/VOC{year}"
    names = (folder / f"ImageSets/Main/{split}.txt").read_text().split()
    assert len(names) == len(set(names)) == 8
    found = set()
    for name in names:
        tree = ElementTree.parse(folder / f"Annotations/{name}.xml")
        assert tree.findtext("filename") == f"{name}.jpg"
        with Image.open(folder / f"JPEGImages/{name}.jpg") as image:
            size = tuple(int(tree.findtext(f"size/{key}")) for key in ("width", "height"))
            assert (image.format, image.size) == ("JPEG", size)
        assert 192 <= max(size) <= 224
        assert 136 <= min(size) <= 192
        objects = tree.findall("object")
        assert 1 <= len(objects) <= 5
        for entry in objects:
            found.add(entry.findtext("name"))
            assert entry.findtext("truncated") in ("0", "1")
            assert entry.findtext("difficult") in ("0", "1")
            sides = ("xmin", "ymin", "xmax", "ymax")
            x0, y0, x1, y1 = (int(entry.findtext(f"bndbox/{side}")) for side in sides)
            assert 1 <= x0 <= x1 <= size[0]
            assert 1 <= y0 <= y1 <= size[1]
    assert found == set(CLASSES)


def test_voc_names_of_the_two_years_differ(sample):
    lists = sorted((sample / "VOCdevkit").glob("*/ImageSets/Main/*.txt"))
    names = [name for path in lists for name in path.read_text().split()]
    assert len(names) == len(set(names)) == 24
    assert "000001" in names
    assert "2012_000001" in names


@pytest.mark.parametrize(("split", "short"), [("training", "train"), ("validation", "val")])
def test_ade_layout(sample, split, short):
    root = sample / "ADEChallengeData2016"
    images = sorted((root / "images" / split).iterdir())
    masks = sorted((root / "annotations" / split).iterdir())
    assert images[0].name == f"ADE_{short}_00000001.jpg"
    assert [path.stem for path in images] == [path.stem for path in masks]
    found = set()
    for image_path, mask_path in zip(images, masks, strict=True):
        with Image.open(image_path) as image, Image.open(mask_path) as mask:
            assert (mask.format, mask.mode, mask.size) == ("PNG", "L", image.size)
            values = np.asarray(mask)
        assert np.mean(values == 0) < 0.5
        found |= set(np.unique(values).tolist())
    assert found == set(range(len(SEGMENTATION_CLASSES) + 1))


def test_object_info(sample):
    text = (sample / "ADEChallengeData2016/objectInfo.txt").read_text()
    header, *rows = (line.split("\t") for line in text.splitlines())
    assert header == ["Idx", "Ratio", "Name"]
    assert [row[0] for row in rows] == [str(i + 1) for i in range(len(SEGMENTATION_CLASSES))]
    assert [row[2] for row in rows] == list(SEGMENTATION_CLASSES)
    assert sum(float(row[1]) for row in rows) == pytest.approx(1, abs=1e-3)


def test_no_image_is_in_two_places(sample):
    images = [data for name, data in contents(sample).items() if name.endswith(".jpg")]
    assert len(images) == len(set(images)) == 3 * len(SEGMENTATION_CLASSES) + 5 * 8


# --- Scenes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("material", range(len(STUFF)))
def test_the_ground_starts_with_the_requested_material(material):
    _, segmentation = draw_ground(np.random.default_rng(material), (64, 64), 1, material)
    assert np.unique(segmentation).tolist() == [len(CLASSES) + 1 + material]


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_labels_say_what_is_visible(label):
    scene = scenes.draw_scene(np.random.default_rng(100 + label), label)
    taken = np.zeros(scene.image.shape[:2], bool)
    for instance in scene.instances:
        rows, columns = np.nonzero(instance.mask)
        extent = (columns.min(), rows.min(), columns.max(), rows.max())
        assert instance.box == extent
        assert not (taken & instance.mask).any()
        taken |= instance.mask
    nearest = scene.instances[-1]
    assert (nearest.label, nearest.truncated, nearest.difficult) == (label, False, False)
    assert set(scene.segmentation[nearest.mask]) == {label + 1}
    # Whatever has a background's value belongs to no object.
    assert scene.segmentation[~taken].max() <= len(CLASSES) + len(STUFF)
    assert not np.isin(scene.segmentation[~taken], range(1, len(CLASSES) + 1)).any()
    assert scene.segmentation.dtype == scene.image.dtype == np.uint8


def test_hidden_objects_are_left_out_or_marked():
    drawn = [scenes.draw_scene(np.random.default_rng(seed), 0) for seed in range(40)]
    instances = [instance for scene in drawn for instance in scene.instances]
    for instance in instances:
        x0, y0, x1, y1 = instance.box
        assert max(x1 - x0, y1 - y0) + 1 >= scenes.LEAST_SIDE
        assert instance.truncated or not instance.difficult
    assert 0 < sum(i.difficult for i in instances) < sum(i.truncated for i in instances)
    assert sum(i.truncated for i in instances) < len(instances) / 2


# --- Determinism ---------------------------------------------------------------------------------


def test_workers_do_not_matter(sample, tmp_path):
    calls = []
    draw_sample(
        tmp_path / "again", 3, lambda done, of: calls.append((done, of)), sizes=SMALL, workers=2
    )
    assert contents(tmp_path / "again") == contents(sample)
    assert calls == [(done, 70) for done in range(1, 71)]


def test_one_image_can_be_drawn_alone(sample, tmp_path):
    for job in writer._plan(SMALL)[::9]:
        for name in job.files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        writer._draw(tmp_path, 3, job)
    alone, whole = contents(tmp_path), contents(sample)
    assert alone
    assert all(whole[name] == data for name, data in alone.items())


def test_seed_matters(tiny, tmp_path):
    draw_sample(tmp_path / "other", 1, sizes=TINY, workers=1)
    first, second = contents(tiny), contents(tmp_path / "other")
    assert first.keys() == second.keys()
    assert not any(first[name] == second[name] for name in first if name.endswith(".jpg"))


# --- Whole or not at all -------------------------------------------------------------------------


def test_whole_sample_is_kept(tiny):
    before = tiny.stat().st_ino
    assert ensure_sample(tiny, sizes=TINY, progress=pytest.fail) == tiny
    assert tiny.stat().st_ino == before


@pytest.mark.parametrize("damage", ["version", "missing", "empty", "seed"])
def test_other_or_damaged_sample_is_replaced(tiny, damage):
    before = contents(tiny)
    image = tiny / "ImageFolder/val/mug/1.jpg"
    if damage == "version":
        mark = json.loads((tiny / "sample.json").read_text())
        (tiny / "sample.json").write_text(json.dumps(mark | {"version": 0}))
    elif damage == "missing":
        image.unlink()
    elif damage == "empty":
        image.write_bytes(b"")
    ensure_sample(tiny, seed=int(damage == "seed"), sizes=TINY, workers=1)
    assert (contents(tiny) == before) == (damage != "seed")
    assert [path.name for path in tiny.parent.iterdir()] == [tiny.name]


def test_remains_of_a_killed_process_are_ignored(tmp_path):
    remains = tmp_path / ".sample-killed/new/ImageFolder"
    remains.mkdir(parents=True)
    root = ensure_sample(tmp_path / "sample", sizes=TINY, workers=1)
    assert writer._is_whole(root, 0, TINY)
    assert remains.is_dir()


def test_interruption_leaves_nothing(tmp_path):
    def interrupt(done, of):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_sample(tmp_path / "sample", progress=interrupt, sizes=TINY, workers=2)
    assert not list(tmp_path.iterdir())


def test_second_of_two_discards_its_copy(tmp_path):
    root = tmp_path / "sample"
    first = []

    def meanwhile(done, of):
        if done == of:
            draw_sample(root, sizes=TINY, workers=1)
            first.append(root.stat().st_ino)

    draw_sample(root, progress=meanwhile, sizes=TINY, workers=1)
    assert [root.stat().st_ino] == first
    assert list(tmp_path.iterdir()) == [root]


def test_foreign_folder_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"thesis\.tex.*move them away"):
        ensure_sample(tmp_path, sizes=TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_foreign_file_in_an_old_sample_is_not_lost(tiny):
    (tiny / "notes.txt").write_text("precious")
    assert ensure_sample(tiny, sizes=TINY) == tiny
    with pytest.raises(UserError, match=r"notes\.txt"):
        ensure_sample(tiny, seed=1, sizes=TINY)
    assert (tiny / "notes.txt").exists()


def test_empty_folder_is_used(tmp_path):
    root = tmp_path / "sample"
    root.mkdir()
    ensure_sample(root, sizes=TINY, workers=1)
    assert writer._is_whole(root, 0, TINY)


def test_full_disk_is_explained(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match=r"sample'.*No space left on device"):
        draw_sample(tmp_path / "sample", sizes=TINY, workers=1)
    assert not list(tmp_path.iterdir())


def test_file_in_the_way_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "sample"):
        with pytest.raises(UserError, match="file"):
            ensure_sample(root, sizes=TINY)


def test_digest_covers_all_but_its_own_file(tiny, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    (copy / "sample.json").unlink()
    mark = json.loads((tiny / "sample.json").read_text())
    assert mark["sha256"] == writer._digest(copy)
    (copy / "ImageFolder/val/mug/1.jpg").write_bytes(b"other")
    assert mark["sha256"] != writer._digest(copy)


def test_import_is_light():
    heavy = "{'torch', 'mmengine', 'cv2', 'numpy', 'scipy'}"
    code = f"import sys, transfer.datasets.sample; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
