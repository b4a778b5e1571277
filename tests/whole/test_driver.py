"""The driver from end to end, on a small sample and a small network."""

import json
import os
import re
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backbones.common.errors import UserError
from backbones.zoo import zoo
from tests.support import chaos_suite, synthetic
from tests.support.suites import QUICK, classifier, plan_of, quick_suite, tasks_of
from transfer import run
from transfer.cli import main
from transfer.finetune.cell_run import run_cell
from transfer.plan import sample_classifiers
from transfer.plan.request import make_plan
from transfer.protocols.protocols import TASKS
from transfer.records import lease, records
from transfer.scheduling.schedule import record_path

ROOT = Path(__file__).resolve().parents[2]
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
    printed = capsys.readouterr().out
    assert "SAMPLE" in printed
    assert re.search(rf"{metric}[^\n]* \d+\.\d\d %", printed)
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
    assert run.main(command) == 0
    assert path.stat().st_mtime_ns == before, "what is recorded is not run again"


def test_the_same_seed_gives_the_same_record(here, cache):
    (task,) = tasks_of(quick_suite(here, cache, tasks=["detection"], seeds=[3], epochs=2), here)
    contents = []
    for folder in ("one", "two"):
        again = replace(task, results=here / folder, work_dir=here / f"{folder}-work")
        run_cell(again, None)
        contents.append(records.read(record_path(again)).content)
    assert contents[0]["metrics"] == contents[1]["metrics"]
    assert contents[0]["curve"] == contents[1]["curve"]
    assert contents[0]["curve"][-1]["iteration"] == 4


@pytest.fixture
def own_rows(here):
    """A row of one's own and its control, two files in a folder, of random weights."""
    (here / "rows").mkdir()
    (here / "rows" / "plain.toml").write_text('architecture = "resnet18"\nweights = "random"\n')
    mine = 'architecture = "resnet18d"\nweights = "random"\ncontrol = "plain.toml"\n'
    (here / "rows" / "mine.toml").write_text(mine)
    return here / "rows"


def asked(backbone, here, **changed):
    return synthetic.request(backbone, here, **{"against": "auto", "protocol": "auto", **changed})


def test_a_control_of_ones_own_is_found_beside_the_row_and_by_against(own_rows, here):
    named = own_rows / "mine.toml"
    by_file = make_plan(asked(named, here))
    assert ([cell.backbone for cell in by_file.cells], by_file.baseline) == (
        ["plain", "mine"],
        "plain",
    )
    stated = make_plan(asked(named, here, against=str(own_rows / "plain.toml")))
    assert (stated.cells, stated.baseline) == (by_file.cells, "plain")
    alone = make_plan(asked(named, here, against="none"))
    assert [cell.id for cell in alone.cells] == [by_file.cells[1].id], "of no cell's identity"
    itself = make_plan(asked(own_rows / "plain.toml", here, against=str(own_rows / "plain.toml")))
    assert ([cell.backbone for cell in itself.cells], itself.baseline) == (["plain"], "")


def test_data_for_one_task_are_enough_unless_the_other_was_asked_for(own_rows, here, small_sample):
    text = (ROOT / "configs" / "datasets" / "sample.toml").read_text(encoding="utf-8")
    text = text.replace('roots = ["sample"]', f"root = {json.dumps(str(small_sample))}")
    boxes = here / "boxes.toml"
    boxes.write_text(text[: text.index("[segmentation]")])
    asked_for = {"against": "none", "data": str(boxes)}
    plan = make_plan(asked(own_rows / "mine.toml", here, tasks=TASKS, **asked_for))
    assert [cell.task for cell in plan.cells] == ["detection"]
    assert plan.remarks == ("'boxes' has no data for segmentation, so this task is left out.",)
    with pytest.raises(UserError, match=r"does not support segmentation; .* --task detection"):
        make_plan(asked(own_rows / "mine.toml", here, **asked_for))
    boxes.write_text(text[: text.index("[detection]")])
    with pytest.raises(UserError, match="neither"):
        make_plan(asked(own_rows / "mine.toml", here, **asked_for))


def test_a_classifier_of_other_images_than_its_controls_is_reported(here, small_sample):
    text = (ROOT / "configs" / "datasets" / "sample.toml").read_text(encoding="utf-8")
    text = text.replace('roots = ["sample"]', f"root = {json.dumps(str(small_sample))}")
    (here / "mine.toml").write_text(text)
    metadata = {
        "data": {"name": "fruit", "images": {"train": 900, "val": 90}},
        "classes": ["a", "b"],
    }
    path = here / "mine.safetensors"

    def remarks(**more):
        classifier(path, 0, "resnet50d_cosine", **more)
        given = {"data": str(here / "mine.toml"), "weights": str(path)}
        given["against"] = "resnet50_baseline"
        return " ".join(make_plan(asked("resnet50d_cosine", here, **given)).remarks)

    assert (
        "'resnet50d_cosine' was trained on fruit, its control 'resnet50_baseline' on ImageNet"
        in (remarks(**metadata))
    )
    images = {"train": 1_281_167, "val": 50_000}
    assert "trained on" not in remarks(
        data={"name": "ILSVRC2012", "images": images}, classes=["a"] * 1000
    )
    assert "trained on" not in remarks()


def test_weights_of_ones_own_beside_the_samples_control_are_reported(here):
    path = here / "mine.safetensors"
    classifier(path, 0, "resnet18d_tricks")

    def remarks(backbone, **given):
        return " ".join(make_plan(asked(backbone, here, **given)).remarks)

    text = "'resnet18_baseline' is trained on the few images of the sample, 'resnet18d_tricks'"
    assert text in remarks("resnet18d_tricks", weights=str(path))
    for plain in ({}, {"weights": "none"}, {"weights": str(path), "against": "none"}):
        assert "few images" not in remarks("resnet18d_tricks", **plain)
    assert "few images" not in remarks("resnet18_baseline")


def test_classifiers_of_the_sample_are_others_once_their_training_is_another(here, monkeypatch):
    before = make_plan(asked("resnet18_baseline", here)).cells
    later = sample_classifiers.TRAINING_VERSION + 1
    monkeypatch.setattr(sample_classifiers, "TRAINING_VERSION", later)
    (after,) = make_plan(asked("resnet18_baseline", here)).cells
    assert after.id != before[0].id


def test_a_row_of_ones_own_needs_weights_or_to_say_that_it_has_none(here):
    (here / "bare.toml").write_text('architecture = "resnet18"\n')
    (here / "w.pth").write_bytes(b"weights")
    with pytest.raises(UserError, match="'bare' has no weights: name them in its file"):
        make_plan(asked(here / "bare.toml", here))
    given = make_plan(asked(here / "bare.toml", here, weights=str(here / "w.pth")))
    assert [cell.scratch for cell in given.cells] == [False]
    none = make_plan(asked(here / "bare.toml", here, weights="none"))
    assert [cell.scratch for cell in none.cells] == [True]


@pytest.mark.parametrize(("file", "label"), [("c.safetensors", "seed 4"), ("c.pth", "file")])
def test_a_classifier_in_a_file_is_one_cell_in_a_suite_and_alone(file, label, here):
    """Else one fine-tuning would be run twice, under two labels."""
    classifier(here / file, 4)
    (here / "mine.toml").write_text(f'architecture = "resnet18d"\nweights = "{file}"\n')
    for row, weights, entry in (
        ("resnet18d_mixup", file, f'{{backbone = "resnet18d_mixup", classifiers = "{file}"}}'),
        (here / "mine.toml", "auto", '"mine.toml"'),
    ):
        single = make_plan(asked(row, here, weights=weights, against="none")).cells[0]
        suite = plan_of(QUICK + f"rows = [{entry}]", here, tasks=("segmentation",))
        assert [cell.id for cell in suite.cells] == [single.id]
        assert single.classifier == label


def test_two_backbones_of_one_name_are_not_compared(own_rows, here):
    (here / "mine.toml").write_text('architecture = "resnet18"\nweights = "random"\n')
    with pytest.raises(UserError, match="two backbones with the same name 'mine'"):
        make_plan(asked(own_rows / "mine.toml", here, against=str(here / "mine.toml")))


def test_the_gain_over_a_control_of_ones_own_is_printed(own_rows, here, capsys):
    command = ["--backbone", str(own_rows / "mine.toml"), "--data", "sample", "--jobs", "1"]
    assert run.main([*command, "--task", "segmentation", "--precision", "float32"]) == 0
    printed = capsys.readouterr().out
    assert "has no finished fine-tuning" not in printed
    (of_plain,) = [line for line in printed.splitlines() if "plain" in line and "baseline" in line][
        :1
    ]
    (of_mine,) = [line for line in printed.splitlines() if "mine" in line and "no claim" in line]
    paths = records.folder(here / "results", "sample").glob("*.json")
    value = {r.cell["backbone"]: r.value for r in map(records.read, paths)}
    assert f"{value['plain']:.2f}" in of_plain
    gain = f"{value['mine'] - value['plain']:+.2f}"
    assert gain in of_mine
    assert main.main(["table", "9", "--sample"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "| mine |" in line]
    assert gain in line, "the table counts from the control that the run had"


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


def test_a_run_whose_cell_was_taken_over_says_so_and_writes_nothing(here, monkeypatch, capsys):
    """As after a long suspension: another machine has linked the next generation of the lease."""
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    leases = lease.Leases(here / "results" / "sample" / "leases")

    def take_over():
        while not (found := list(leases.folder.glob("*.001.lease"))):
            time.sleep(0.01)
        owner = lease.Owner(host="elsewhere", machine="elsewhere", pid=1, started="1")
        lease._write_beside(Path(str(found[0]).replace(".001.", ".002.")), owner, os.link)

    other = threading.Thread(target=take_over, daemon=True)
    other.start()
    assert run.main([*SCRATCH, "--task", "segmentation", "--precision", "float32"]) == 2
    other.join()
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: Lease lost: another driver assumed that this process had died")
    assert recorded(here) == []
    assert list((here / "work_dirs").rglob("*.pt")) == []


def test_weights_of_another_network_are_refused(here, capsys):
    import timm
    import torch

    torch.save(timm.create_model("resnet34").state_dict(), here / "r34.pth")
    command = ["--backbone", "resnet18_baseline", "--against", "none", "--data", "sample"]
    assert run.main([*command, "--task", "detection", "--weights", "r34.pth"]) == 2
    assert "not those of 'resnet18'" in capsys.readouterr().err
    assert recorded(here) == []


@pytest.mark.parametrize(("line", "on"), [("", ""), ('top1_on = "my flowers"', "my flowers")])
def test_a_record_says_on_what_an_own_top1_was_measured_only_where_it_was_reported(line, on, here):
    import timm
    import torch

    from transfer.finetune import classifiers

    torch.save(timm.create_model("resnet18").state_dict(), here / "r18.pth")
    text = f'architecture = "resnet18"\nweights = "r18.pth"\ntop1 = 70\n{line}'
    (here / "mine.toml").write_text(text)
    row = zoo.find("mine.toml")
    cell = synthetic.cell("mine", architecture="resnet18", weights=row.weights.source)
    provenance = classifiers.prepare(cell, row).provenance
    assert (provenance["top1"], provenance["top1_on"]) == (70, on)


@pytest.mark.parametrize(
    ("name", "source", "tricks"),
    [
        ("resnet18b_smooth", "timm:resnet18.gluon_in1k", zoo.SMOOTH.tricks()),  # the authors'
        ("resnet18b_smooth", "own.safetensors", zoo.SMOOTH.tricks()),
        ("resnet18b_smooth", "silent.safetensors", None),
        ("resnet18_baseline", "timm:resnet18.tv_in1k", None),  # torchvision's
    ],
)
def test_a_record_tells_a_recipe_only_of_weights_that_were_trained_by_it(
    name, source, tricks, here, monkeypatch
):
    import timm
    from safetensors.torch import save_file

    from backbones.weights.safetensors_header import METADATA_KEY
    from transfer.finetune import classifiers

    metadata = json.dumps({"row": name}) if source.startswith("own") else "{}"
    network = timm.create_model("resnet18").state_dict()
    save_file(network, here / "file.safetensors", {METADATA_KEY: metadata})
    monkeypatch.setattr(classifiers.weights, "locate", lambda _: here / "file.safetensors")
    cell = synthetic.cell(name, weights=source, weights_id=source)
    provenance = classifiers.prepare(cell, zoo.find(name)).provenance
    assert (provenance["recipe"] is None) == (tricks is None)
    assert provenance["tricks"] == list(tricks or ())


@pytest.mark.slow
def test_runs_side_by_side_give_what_they_give_alone(here, cache):
    """In float32 on the CPU, with a thread for each: metrics, per-image results and weights."""
    suite = quick_suite(here, cache, seeds=[0, 1], epochs=2)
    for jobs in ("1", "3"):
        command = ["--suite", str(suite), "--jobs", jobs, "--data-root", str(here)]
        assert run.main([*command, "--results", str(here / jobs / "results"), "--work-dir",
                         str(here / jobs / "work")]) == 0  # fmt: skip
    assert chaos_suite.compare(here / "3", here / "1") == []
    paths = chaos_suite.records_of(here / "1")
    assert len(paths) == 4
    for name, path in paths.items():
        other = chaos_suite.records_of(here / "3")[name]
        assert path.with_suffix(".npz").read_bytes() == other.with_suffix(".npz").read_bytes()
        assert records.read(path).content["side_by_side"] == 1
        assert records.read(other).content["side_by_side"] > 1
