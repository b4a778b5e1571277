"""A dry run refuses the networks that the run itself would refuse, in the same words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from transfer import run
from transfer.plan.network_faults import known_faults
from transfer.protocols import protocols
from transfer.records.cells import Cell

ROOT = Path(__file__).resolve().parents[3]
UNFIT = [
    ("timm/levit_128s", "detection", "openmmlab", "strides [16, 32, 64] but not at 4"),
    ("timm/hiera_tiny_224", "segmentation", "quick", "only images of 224 x 224 pixels"),
    ("timm/convnext_tiny", "detection", "paper", "no stage 'layer4'"),
    ("timm/convnext_tiny", "detection", "paper-long", "no stage 'layer4'"),
    ("mobilenet_baseline", "detection", "paper", "no stage 'layer4'"),
]
FIT = [
    ("timm/vit_base_patch16_224", "detection", "openmmlab"),
    ("timm/swin_tiny_patch4_window7_224", "segmentation", "quick"),
    ("inception_v3_baseline", "segmentation", "openmmlab"),
    ("timm/convnext_tiny", "segmentation", "paper"),
    ("resnet50d_tricks", "detection", "paper"),
    ("inception_v3_baseline", "detection", "openmmlab"),
]


def cell(architecture, task, protocol, overrides=()):
    return Cell(
        backbone="mine",
        architecture=architecture,
        weights="",
        weights_id="",
        classifier="none",
        task=task,
        protocol=protocol,
        protocol_version="",
        data="sample",
        data_fingerprint="",
        precision="float32",
        seed=0,
        scratch=True,
        overrides=overrides,
    )


def dry_run(backbone, task, protocol, *more):
    chosen = ["--backbone", backbone, "--task", task, "--protocol", protocol, "--data", "sample"]
    return run.main([*chosen, "--weights", "none", "--against", "none", "--dry-run", *more])


@pytest.mark.parametrize(("backbone", "task", "protocol", "fact"), UNFIT)
def test_a_network_that_the_protocol_cannot_use(backbone, task, protocol, fact, cache, capsys):
    assert dry_run(backbone, task, protocol) == 2
    assert fact in capsys.readouterr().err


@pytest.mark.parametrize(("backbone", "task", "protocol"), FIT)
def test_a_network_that_it_can_use(backbone, task, protocol, cache, capsys):
    assert dry_run(backbone, task, protocol) == 0


@pytest.mark.parametrize(
    ("architecture", "task", "protocol"),
    [
        ("convnext_tiny", "detection", "paper"),
        ("inception_v3", "segmentation", "quick"),
        ("vit_tiny_patch16_224", "segmentation", "paper"),
        ("mixer_b16_224", "segmentation", "paper"),
        ("resnet18", "detection", "paper"),
    ],
)
def test_the_words_are_those_of_the_run(architecture, task, protocol):
    from transfer.finetune.preflight import network_faults

    cells = [cell(architecture, task, protocol)]
    found, unknown = known_faults(cells)
    assert not unknown
    assert found == network_faults(cells)


def test_what_the_table_does_not_know_is_built(cache, capsys):
    assert dry_run("timm/vit_no_such_network", "detection", "quick") == 2
    assert "timm has no network 'vit_no_such_network'" in capsys.readouterr().err
    changed = cell("inception_v3", "segmentation", "quick", (("model.backbone.output_stride", 32),))
    assert known_faults([changed]) == ([], [changed])


def test_protocols_that_need_a_head_of_the_last_stage():
    needing = {
        (task, protocol)
        for task in protocols.TASKS
        for protocol in protocols.names(task)
        if protocols.needs_roi_head(task, protocol)
    }
    assert needing == {("detection", "paper"), ("detection", "paper-long")}


def test_a_known_network_costs_no_heavy_import(tmp_path):
    code = (
        "import sys; from transfer import run\n"
        "code = run.main(['--backbone', 'timm/convnext_tiny', '--task', 'detection', '--protocol', "
        "'paper', '--data', 'sample', '--weights', 'none', '--against', 'none', '--dry-run'])\n"
        "heavy = {'torch', 'timm', 'mmengine', 'mmdet'} & sys.modules.keys()\n"
        "sys.exit(9 if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TRANSFER_CACHE": str(tmp_path / "cache")},
        check=False,
    )
    assert done.returncode == 2, done.stderr
