"""The driver from end to end, on a small sample and a small network."""

import json
import shutil
import time

import numpy as np
import pytest
import synthetic

from backbones import zoo
from transfer import run
from transfer.report import records

SCRATCH = ["--backbone", "resnet18_scratch", "--against", "none", "--data", "sample"]


@pytest.fixture
def here(tmp_path, monkeypatch, small_sample):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recorded(here):
    """What stands among the records; whose turn a cell is does not."""
    return [p for p in (here / "results").rglob("*") if p.suffix in (".json", ".npz")]


@pytest.fixture
def own_copy(here, small_sample, monkeypatch):
    """A copy of the sample that a test may damage."""
    shutil.copytree(small_sample, here / "cache" / "sample")
    monkeypatch.setenv("TRANSFER_CACHE", str(here / "cache"))
    return here / "cache" / "sample"


@pytest.mark.parametrize(
    ("task", "metric", "steps", "tested"),
    [("detection", "mAP", 16, 9), ("segmentation", "mIoU", 6, 5)],  # 8 and 6 epochs, batches of 8
)
def test_a_cell_is_trained_measured_recorded_and_skipped(task, metric, steps, tested, here, capsys):
    command = [*SCRATCH, "--task", task, "--precision", "float32"]
    assert run.main(command) == 0
    told = capsys.readouterr().out
    assert "SAMPLE" in told
    assert f"{metric} %" in told
    (path,) = records.folder(here / "results", "sample").glob("*.json")
    record = records.read(path)
    cell, content = record.cell, record.content
    assert (cell["task"], cell["protocol"], cell["precision"]) == (task, "quick", "float32")
    assert cell["scratch"]
    assert cell["classifier"] == "none"
    assert 0 <= record.value <= 100
    assert content["training"]["images"] == {"train": 8 * steps, "test": tested}
    assert {"torch", "timm", "onedl-mmdetection"} <= content["versions"].keys()
    assert content["seconds"]["train"] > 0
    config = json.loads(content["config"]["json"])
    assert config["model"]["backbone"]["frozen_stages"] == -1
    assert config["randomness"] == {"seed": 0}
    assert content["curve"][-1]["iteration"] == steps
    outcomes = np.load(path.with_suffix(".npz"), allow_pickle=False)
    assert len(outcomes["images"]) == content["training"]["images"]["test"]

    before = path.stat().st_mtime_ns
    start = time.monotonic()
    assert run.main(command) == 0
    assert time.monotonic() - start < 5
    assert path.stat().st_mtime_ns == before, "what is recorded is not run again"


def test_the_same_seed_gives_the_same_record(here):
    command = [*SCRATCH, "--task", "detection", "--precision", "float32", "--seed", "3"]
    values = []
    for folder in ("one", "two"):
        assert run.main([*command, "--results", folder, "--work-dir", f"{folder}-work"]) == 0
        (path,) = records.folder(here / folder, "sample").glob("*.json")
        values.append(records.read(path).content)
    assert values[0]["metrics"] == values[1]["metrics"]
    assert values[0]["curve"] == values[1]["curve"]


def damaged_image(root):
    path = root / "VOCdevkit/VOC2007/JPEGImages/000003.jpg"
    path.write_bytes(path.read_bytes()[:200])
    return path


def damaged_annotation(root):
    path = next((root / "VOCdevkit/VOC2012/Annotations").glob("*.xml"))
    path.write_text(path.read_text()[:150])
    return path


def unknown_class(root):
    path = next((root / "VOCdevkit/VOC2007/Annotations").glob("*.xml"))
    path.write_text(
        path.read_text()
        .replace("<name>beetle<", "<name>zebra<")
        .replace("<name>mug<", "<name>zebra<")
        .replace("<name>bird<", "<name>zebra<")
        .replace("<name>fish<", "<name>zebra<")
        .replace("<name>house<", "<name>zebra<")
        .replace("<name>flower<", "<name>zebra<")
    )
    return path


@pytest.mark.parametrize("damage", [damaged_image, damaged_annotation, unknown_class])
def test_broken_data_are_named_and_nothing_is_recorded(damage, own_copy, here, capsys):
    path = damage(own_copy)
    assert run.main([*SCRATCH, "--task", "detection"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert path.name in error
    assert recorded(here) == []


def test_a_work_folder_that_cannot_be_written_is_one_sentence(here, capsys):
    (here / "blocked").write_text("a file where the folder should be")
    command = [*SCRATCH, "--task", "detection", "--work-dir", str(here / "blocked")]
    assert run.main(command) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "blocked" in error
    assert recorded(here) == []


def test_weights_of_another_network_are_refused(here, capsys):
    import timm
    import torch

    torch.save(timm.create_model("resnet34").state_dict(), here / "r34.pth")
    command = ["--backbone", "resnet18_baseline", "--against", "none", "--data", "sample"]
    assert run.main([*command, "--task", "detection", "--weights", "r34.pth"]) == 2
    assert "not those of 'resnet18'" in capsys.readouterr().err
    assert recorded(here) == []


@pytest.mark.parametrize(("line", "on"), [("", ""), ('top1_on = "my flowers"', "my flowers")])
def test_a_record_says_on_what_an_own_top1_was_measured_only_where_it_was_told(line, on, here):
    import timm
    import torch

    from transfer.engine import classifiers

    torch.save(timm.create_model("resnet18").state_dict(), here / "r18.pth")
    told = f'architecture = "resnet18"\nweights = "r18.pth"\ntop1 = 70\n{line}'
    (here / "mine.toml").write_text(told)
    row = zoo.find("mine.toml")
    cell = synthetic.cell("mine", architecture="resnet18", weights=row.weights.source)
    provenance = classifiers.prepare(cell, row).provenance
    assert (provenance["top1"], provenance["top1_on"]) == (70, on)
