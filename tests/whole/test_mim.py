"""The configs under ``mim train``, which runs the toolboxes' own training scripts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("toolbox", "config", "part"),
    [
        (
            "mmdetection",
            "detection/faster-rcnn_r50d-tricks_fpn_quick_sample.py",
            "SparseRoIExtraction",
        ),
        (
            "mmsegmentation",
            "segmentation/fcn_r50d-tricks-d8_quick_sample.py",
            "FusedSegmentationLoss",
        ),
    ],
)
def test_a_config_trains_from_any_folder_and_writes_a_checkpoint(toolbox, config, part, tmp_path):
    pytest.importorskip("mim", reason="MIM is not installed: pip install -e '.[mim]'")
    options = ["model.backbone.weights=None", "train_cfg.max_epochs=1", "train_cfg.val_interval=1"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mim", "train", toolbox),
            CONFIGS / config,
            "--work-dir",
            tmp_path / "work",
            "--cfg-options",
            *options,
        ],
        cwd=tmp_path,
        env={**os.environ, "TRANSFER_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "work" / "epoch_1.pth").stat().st_size > 1e7
    (log,) = (tmp_path / "work").glob("*/*.log")
    assert f"Speed: {part} is active" in log.read_text()
