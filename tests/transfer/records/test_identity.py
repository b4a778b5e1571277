"""What a cell's id and a data set's fingerprint stand for: whatever decides the result."""

import hashlib
import json
from dataclasses import fields
from pathlib import Path

import pytest

from backbones.common.errors import UserError
from transfer.cli import main
from transfer.datasets import catalogue
from transfer.plan.request import Request, by_name, data_name, make_plan
from transfer.records.cells import Cell

ROOT = Path(__file__).resolve().parents[3]

BACKBONE = 'architecture = "resnet18"\nmean = [0.1, 0.2, 0.3]\nstd = [0.2, 0.2, 0.2]\n'
BOXES = """
name = "two parts"
root = "images"

[detection]
classes = ["bolt", "nut"]
train = [{ folder = "a", split = "train" }]
test = [{ folder = "a", split = "val", images = 1 }]
"""
MASKS = """
name = "two parts"
root = "images"

[segmentation]
classes = ["road", "river"]
zero_is_ignored = true

[segmentation.train]
images = "jpg"
masks = "png"
list = "train.txt"
count = 2

[segmentation.test]
images = "jpg"
masks = "png"
list = "val.txt"
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with lists of images for boxes and for masks."""
    monkeypatch.chdir(tmp_path)
    lists = tmp_path / "images" / "a" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for name, text in {"train": "1\n2\n", "val": "3\n"}.items():
        (lists / f"{name}.txt").write_text(text)
        (tmp_path / "images" / f"{name}.txt").write_text(text)
    return tmp_path


def cell_of(backbone, folder):
    """The cell of an own backbone on the sample."""
    request = Request(
        backbone=str(backbone), tasks=("segmentation",), against="none", data="sample",
        data_root=folder, protocol="quick", weights="auto", precision="float32", seed=0,
        classifier_seed=0,
    )  # fmt: skip
    return make_plan(request).cells[0]


def fingerprint(text, task, folder):
    file = folder / "mine.toml"
    file.write_text(text)
    return catalogue.load(str(file), folder).fingerprint(task)


# --- Backbones ------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ['weights = "random"\n', 'weights = "w.pth"\n'])
@pytest.mark.parametrize(
    ("old", "new"), [("[0.1, 0.2, 0.3]", "[0.3, 0.2, 0.1]"), ("[0.2, ", "[1, ")]
)
def test_a_changed_preprocessing_of_an_own_row_is_another_cell(weights, old, new, tmp_path):
    (tmp_path / "w.pth").write_bytes(b"weights")
    file = tmp_path / "n.toml"
    file.write_text(weights + BACKBONE)
    before = cell_of(file, tmp_path)
    assert cell_of(file, tmp_path).id == before.id
    assert old in BACKBONE
    file.write_text(weights + BACKBONE.replace(old, new))
    assert cell_of(file, tmp_path).id != before.id
    top1 = "" if "random" in weights else "top1 = 70.0\n"  # recorded, but no part of the identity
    file.write_text(weights + BACKBONE + top1)
    assert cell_of(file, tmp_path).id == before.id


def test_every_record_has_still_the_id_of_its_cell():
    found = sorted((ROOT / "results" / "records").glob("*.json"))
    assert found
    for path in found:
        content = json.loads(path.read_text())["cell"]
        known = {field.name: content[field.name] for field in fields(Cell) if field.name in content}
        assert Cell(**known).id == content["id"], path.name


@pytest.mark.parametrize("row", ["resnet18_scratch", "timm/resnet18.tv_in1k", "resnet50d_smooth"])
def test_of_the_zoos_rows_the_name_stands_for_the_preprocessing(row, tmp_path):
    cell = cell_of(row, tmp_path)
    assert (cell.mean, cell.std) == (None, None)


# --- Data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "task", "old", "new"),
    [
        (BOXES, "detection", '"bolt", "nut"', '"nut", "bolt"'),
        (BOXES, "detection", '"nut"]', '"nut", "screw"]'),
        (BOXES, "detection", '"nut"]', '"nut"]\nheadline_classes = ["nut"]'),
        (MASKS, "segmentation", '"road", "river"', '"river", "road"'),
        (MASKS, "segmentation", "zero_is_ignored = true", "zero_is_ignored = false"),
        (MASKS, "segmentation", "= true", "= true\nignore_index = 7"),
        (MASKS, "segmentation", "= true", '= true\nheadline_classes = ["road"]'),
        (MASKS, "segmentation", 'masks = "png"', 'masks = "other"'),
        (MASKS, "segmentation", 'images = "jpg"', 'images = "other"'),
    ],
)
def test_own_data_that_are_read_otherwise_are_other_data(text, task, old, new, here):
    assert old in text
    assert fingerprint(text.replace(old, new), task, here) != fingerprint(text, task, here)


def test_what_decides_no_result_leaves_own_data_as_they_are(here):
    """Names for people, how many images there must be, the other task, and the place."""
    boxes, masks = (fingerprint(BOXES, "detection", here), fingerprint(MASKS, "segmentation", here))
    both = BOXES + MASKS.split('root = "images"')[1]
    assert fingerprint(both, "detection", here) == boxes
    assert fingerprint(both, "segmentation", here) == masks
    changed = BOXES.replace("images = 1 }", "images = 2 }").replace("two parts", "three parts")
    assert fingerprint(changed, "detection", here) == boxes
    assert fingerprint(MASKS.replace("count = 2", ""), "segmentation", here) == masks
    (here / "images").rename(here / "moved")
    assert fingerprint(MASKS.replace('"images"', '"moved"'), "segmentation", here) == masks


@pytest.mark.parametrize("by", ["voc2012", str(ROOT / "configs" / "datasets" / "voc2012.toml")])
def test_a_named_data_sets_fingerprint_is_of_its_lists_alone(by, tmp_path):
    lists = tmp_path / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    digest = hashlib.sha256()
    for split in ("train", "val"):
        (lists / f"{split}.txt").write_text(f"{split}_1\n")
        digest.update(f"VOC2012/ImageSets/Main/{split}.txt{split}_1\n".encode())
    assert catalogue.load(by, tmp_path).fingerprint("detection") == digest.hexdigest()[:16]


@pytest.mark.parametrize("name", ["ade20k", "sample", "voc0712"])
def test_own_data_never_have_the_name_of_known_ones(name, here, capsys):
    """They would stand in the paper's tables, or among the sample's records."""
    (here / f"{name}.toml").write_text(MASKS)
    command = ["--task", "segmentation", "--data", f"{name}.toml", "--protocol", "paper"]
    command = ["run", "--backbone", "resnet18_scratch", "--dry-run", *command]
    assert main.main(command) == 2
    printed = capsys.readouterr().err
    assert f"'{name}.toml' has the name of a known data set" in printed
    assert "rename the file" in printed
    (here / f"{name}.toml").rename(here / "fields.toml")
    assert main.main([part.replace(f"{name}.toml", "fields.toml") for part in command]) == 0
    assert "fields" in capsys.readouterr().out


def test_own_data_are_named_as_their_file_and_called_as_it_says(here):
    file = here / "fields.toml"
    file.write_text(MASKS)
    data = catalogue.load(str(file), here)
    assert (data.name, data.title) == (data_name(str(file)), "two parts") == ("fields", "two parts")


def test_two_files_of_one_name_cannot_stand_in_one_run():
    assert by_name(["ade20k", "a/x.toml", "a/x.toml"]) == {"ade20k": "ade20k", "x": "a/x.toml"}
    with pytest.raises(UserError, match=r"'a/x.toml' and 'b/x.toml' are both called 'x'.*rename"):
        by_name(["a/x.toml", "b/x.toml"])
