"""Heads of the toolboxes under the driver: trained, tested, recorded, shown and resumed."""

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.small_protocols import small
from tests.support.suites import plan_of
from transfer import run
from transfer.cli import main
from transfer.finetune.cell_run import run_cell
from transfer.records import records
from transfer.records.cells import Task
from transfer.scheduling.schedule import record_path

SCRATCH = ["--backbone", "resnet18_scratch", "--against", "none", "--data", "sample"]

C4 = "mmdet::faster_rcnn/faster-rcnn_r50-caffe-c4_ms-1x_coco.py"  # each RoI goes through a stage
HEADS = {
    "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py": ("detection", "mAP", ""),
    "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py": (
        "detection",
        "mAP",
        "model = dict(num_queries=60)",  # positions of small images; 6 classes each, 300 boxes
    ),
    "mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py": ("detection", "mAP", ""),
    "mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py": ("detection", "mAP", ""),
    C4: ("detection", "mAP", ""),
    "mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py": ("detection", "mAP", ""),
    "mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py": (
        "segmentation",
        "mIoU",
        "",
    ),
    "mmseg::pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py": ("segmentation", "mIoU", ""),
    "mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py": ("segmentation", "mIoU", ""),
}

RESUMED = {
    "detection": "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py",
    "segmentation": "mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py",
}

SUITE = """
kind = "transfer"
data = "sample"
precision = "float32"
rows = ["resnet18_scratch"]
"""


@pytest.fixture
def here(tmp_path, monkeypatch, small_sample):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "protocol",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in HEADS if name != C4),
        pytest.param(C4, marks=pytest.mark.long),
    ],
)
def test_a_packaged_head_is_trained_tested_recorded_and_shown(protocol, here, capsys):
    task, metric, more = HEADS[protocol]
    Path("mine.py").write_text(small(protocol, more))
    assert run.main([*SCRATCH, "--protocol", "mine.py"]) == 0
    printed = capsys.readouterr().out
    assert "protocol mine" in printed
    (path,) = records.folder(here / "results", "sample").glob("*.json")
    record = records.read(path)
    assert (record.cell["task"], record.cell["protocol"], record.metric) == (task, "mine", metric)
    assert "protocol_config" not in record.cell
    assert record.content["curve"][-1]["iteration"] == 3
    assert record.content["training"]["batch_size"] == 2
    kind = json.loads(record.content["config"]["json"])["model"]["backbone"]["type"]
    assert kind == "TimmPyramid"
    assert "--protocol mine.py" in record.content["command"]
    before = path.stat().st_mtime_ns
    assert run.main([*SCRATCH, "--protocol", "mine.py"]) == 0
    assert path.stat().st_mtime_ns == before, "what is recorded is not run again"
    assert main.main(["show", str(path), "--data-root", str(here), "--images", "2"]) == 0


def killed_at(task, iteration):
    """Run a cell in a process that kills itself after some iterations."""

    def watch(phase, done, total):
        if phase == "train" and done >= iteration:
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=run_cell, args=(task, watch))
    process.start()
    process.join(240)
    return process.exitcode


@pytest.mark.slow
@pytest.mark.parametrize("kind", RESUMED)
def test_a_packaged_head_resumes_after_a_kill_with_the_same_result(kind, here):
    Path("mine.py").write_text(small(RESUMED[kind]))
    plan = plan_of(SUITE, here, protocol="mine.py")
    (cell,) = plan.cells
    assert cell.task == kind
    task = Task(
        cell=cell,
        row=plan.rows[cell.backbone],
        data="sample",
        data_root=here,
        results=here / "results",
        work_dir=here / "work",
        command="",
        save_minutes=0.0,
    )
    Path("mine.py").unlink()  # the config travels with the cell
    assert killed_at(task, 2) == -signal.SIGKILL
    assert not record_path(task).exists()
    run_cell(task)
    assert "resumed at iteration" in (task.place / "log.txt").read_text()
    calm = replace(task, results=here / "calm", work_dir=here / "calm-work")
    run_cell(calm)
    resumed, undisturbed = (records.read(record_path(one)).content for one in (task, calm))
    assert resumed["metrics"] == undisturbed["metrics"]
    assert resumed["curve"][-1] == undisturbed["curve"][-1]
