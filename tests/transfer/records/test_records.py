import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from backbones.common.errors import UserError
from tests.support import synthetic
from transfer.records import records


def content(value=50.0, **cell):
    config = {"model": {"backbone": {}, "data_preprocessor": {"mean": 0, "std": 1}}}
    config["randomness"] = {"seed": 0}
    return {
        "schema": records.SCHEMA,
        "cell": {
            "backbone": "resnet50_baseline",
            "task": "detection",
            "data": "voc0712",
            "data_fingerprint": "0123",
            "protocol": "openmmlab",
            "protocol_version": "4567",
            "precision": "float32",
            "seed": 0,
            **cell,
        },
        "headline": {"metric": "mAP", "value": value},
        "metrics": {"mAP": value},
        "classifier": {
            "architecture": "resnet50",
            "sha256": "89ab",
            "tricks": [],
            "top1": 76.1,
            "top1_on": "ImageNet",
            "parameters": 25_557_032,
            "multiply_adds_224": 4_089_184_256,
        },
        "config": records.config_entry(config),
        "training": {"images": {"train": 100, "test": 10}},
        "curve": [],
        "versions": {},
    }


def test_what_is_written_is_read(tmp_path):
    cell = synthetic.cell("resnet50d_tricks")
    path = records.path_of(tmp_path, cell)
    records.write(path, content(12.5))
    assert path == tmp_path / "records" / f"{cell.name}_{cell.id}.json"
    assert records.read(path).value == 12.5
    assert records.read(path).metric == "mAP"


def test_a_detectors_config_hashes_alike_before_and_after_it_is_built():
    """Older published records hold what MMDetection added while it built the detector."""
    published = Path(__file__).resolve().parents[3] / "results" / "records"
    paths = list(published.glob("detection_*_resnet18*.json"))
    assert paths
    for path in paths:
        record = records.read(path)
        config = json.loads(record.content["config"]["json"])
        for name in ("train_cfg", "test_cfg"):
            assert config["model"]["roi_head"].pop(name)
        assert records.config_entry(config)["comparable_sha256"] == record.comparable


def test_the_samples_records_stand_apart(tmp_path):
    assert records.folder(tmp_path, "sample") == tmp_path / "sample" / "records"


def die_before_rename(folder):
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    records.write(folder / "records" / "a.json", content(2.0))


def test_a_record_survives_a_kill_between_write_and_rename(tmp_path):
    path = tmp_path / "records" / "a.json"
    records.write(path, content(1.0))
    process = multiprocessing.get_context("fork").Process(
        target=die_before_rename, args=(tmp_path,)
    )
    process.start()
    process.join(20)
    assert process.exitcode == -signal.SIGKILL
    assert len(list(path.parent.iterdir())) == 2, "the new one was written beside the old one"
    found, unreadable = records.read_all(tmp_path, "voc0712")
    assert [record.value for record in found] == [1.0]
    assert unreadable == []
    records.write(path, content(3.0))
    assert records.read(path).value == 3.0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "cannot be read"),
        ('{"schema": 1', "cannot be read"),
        ("[1, 2]", "not a record of this project"),
        ('{"schema": 1}', "lacks cell, classifier"),
        (json.dumps({**content(), "schema": 99}), "has schema 99"),
        (json.dumps(content(float("nan"))), "contains the number nan"),
        (json.dumps({**content(), "headline": {"metric": "mAP"}}), "malformed: headline.value"),
        (json.dumps({**content(), "headline": [12.5]}), "malformed: headline.metric"),
        (json.dumps({**content(), "training": 3}), "malformed: training.images.train, training"),
        (json.dumps({**content(), "baseline": None}), "malformed: baseline missing, out"),
        (json.dumps(content(seed="one")), "malformed: cell.seed missing, out"),
        (json.dumps(content(overrides=None)), "malformed: cell.overrides"),
        (json.dumps(content(overrides=[["a"]])), "malformed: cell.overrides"),
        (json.dumps({**content(), "seconds": None}), "malformed: seconds"),
        (json.dumps({**content(), "seconds": {"train": "9"}}), "malformed: seconds"),
        (json.dumps({**content(), "metrics": {"IoU/x": "x"}}), "malformed: metrics"),
        *[
            (json.dumps({**content(), "metrics": {name: value}}), f"malformed: metrics.{name}")
            for name in ("mAP", "AP_area/cat", "IoU/x", "pixAcc", "mIoU_all")
            for value in (-5, 300, 1e12)
        ],
        (json.dumps(content(-5.0)), "malformed: headline.value"),
        (json.dumps({**content(), "hardware": None}), "malformed: hardware"),
        (json.dumps({**content(), "hardware": {"gpus": 1}}), "malformed: hardware.gpus"),
    ],
)
def test_what_is_no_record_is_named_and_the_rest_stands(text, sentence, tmp_path):
    folder = records.folder(tmp_path, "voc0712")
    folder.mkdir(parents=True)
    (folder / "bad.json").write_text(text)
    records.write(folder / "good.json", content(5.0))
    with pytest.raises(UserError, match=sentence):
        records.read(folder / "bad.json")
    found, unreadable = records.read_all(tmp_path, "voc0712")
    assert [record.value for record in found] == [5.0]
    assert len(unreadable) == 1
    assert "bad.json" in unreadable[0]


def test_a_folder_that_cannot_be_read_is_named_and_a_record_then_is_not_to_be_removed(
    tmp_path, monkeypatch
):
    def refuse(*_args, **_more):
        raise PermissionError(13, "Permission denied")

    records.write(records.folder(tmp_path, "voc0712") / "good.json", content(5.0))
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        (sentence,) = records.read_all(tmp_path, "voc0712")[1]
    assert "cannot be read (Permission denied)." in sentence
    assert "remove" not in sentence
    monkeypatch.setattr(Path, "glob", refuse)
    with pytest.raises(UserError, match=r"folder .* cannot be read"):
        records.read_all(tmp_path, "voc0712")


def test_a_metric_that_is_no_number_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.write(tmp_path / "a.json", content(float("inf")))
    assert list(tmp_path.iterdir()) == []


def test_no_room_or_no_permission_leaves_nothing(tmp_path):
    (tmp_path / "records").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="choose another folder with --results"):
        records.write(tmp_path / "records" / "a.json", content())


def test_reading_many_records_is_quick(tmp_path):
    folder = records.folder(tmp_path, "voc0712")
    folder.mkdir(parents=True)
    text = json.dumps(content())
    for number in range(500):
        (folder / f"{number}.json").write_text(text)
    start = time.process_time()
    assert len(records.read_all(tmp_path, "voc0712")[0]) == 500
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("weights", "recorded"),
    [
        ("/home/me/mine.safetensors", "mine.safetensors"),
        ("shuffled:/home/me/mine.pt", "shuffled:mine.pt"),
        ("timm:resnet50.tv_in1k", "timm:resnet50.tv_in1k"),
        ("https://example.org/a/b.pth", "https://example.org/a/b.pth"),
        ("", ""),
    ],
)
def test_a_record_names_weights_without_the_folders_of_a_machine(weights, recorded):
    assert records.public_name(weights) == recorded
