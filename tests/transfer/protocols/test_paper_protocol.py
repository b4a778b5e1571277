"""Protocol `paper`, trained and tested: by the driver's engine, and by the toolboxes' own tools."""

import subprocess
import sys
from pathlib import Path

import mmdet
import mmseg
import pytest
import timm
import torch

import transfer.openmmlab  # noqa: F401
from backbones.common.errors import UserError
from transfer.datasets import catalogue
from transfer.finetune.finetune import finetune
from transfer.protocols import compose, protocols
from transfer.records.cells import Cell

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
NO_WORKERS = {
    f"{loader}_dataloader.{name}": value
    for loader in ("train", "val")
    for name, value in (("num_workers", 0), ("persistent_workers", False))
}
FEW_IMAGES = {"train_dataloader.batch_size": 2, "train_cfg.max_epochs": 1}
SMALL = {
    "detection": {
        **{
            f"train_dataloader.dataset.dataset.datasets.{i}.pipeline.2.scale": (160, 96)
            for i in range(2)
        },
        "val_dataloader.dataset.pipeline.1.scale": (160, 96),
        "model.rpn_head.feat_channels": 32,
        "model.train_cfg.rcnn.sampler.num": 8,
        "model.test_cfg.rpn.max_per_img": 8,
    },
    "segmentation": {
        "train_dataloader.dataset.dataset.pipeline.3.scale": [(2080, 52), (2080, 208)],
        "train_dataloader.dataset.dataset.pipeline.4.size": (96, 96),
        "train_dataloader.dataset.dataset.pipeline.5.crop_size": (96, 96),
        "model.data_preprocessor.size": (96, 96),
        "model.test_cfg.base_size": 104,
        "model.test_cfg.crop_size": 96,
    },
}
RATES = {"detection": 0.001, "segmentation": 0.01 * 2 / 16}


def config(task, small_sample, *, precision="float32", weights="", overrides=None):
    cell = Cell(
        backbone="resnet18_baseline" if weights else "resnet18_scratch",
        architecture="resnet18",
        weights=weights,
        weights_id="",
        classifier="file" if weights else "none",
        task=task,
        protocol="paper",
        protocol_version=protocols.version(task, "paper"),
        data="sample",
        data_fingerprint="",
        precision=precision,
        seed=0,
        scratch=not weights,
        overrides=tuple({**NO_WORKERS, **(overrides or {})}.items()),
    )
    data = catalogue.load("sample", small_sample.parent)
    normal = {"mean": (123.68, 116.78, 103.94), "std": (58.4, 57.1, 57.4)}
    return compose.compose(cell, data, weights=weights, **normal)


def test_both_parts_of_a_c4_detector_get_the_weights(small_sample):
    cfg = config("detection", small_sample, weights="/here/a.pth")
    parts = (cfg.model.backbone, cfg.model.roi_head.shared_head)
    assert [part.weights for part in parts] == ["/here/a.pth"] * 2
    assert [part.architecture for part in parts] == ["resnet18"] * 2
    assert cfg.model.rpn_head.in_channels == 256
    assert cfg.model.roi_head.bbox_head.in_channels == 512
    elsewhere = config("detection", small_sample, weights="/there/b.pth")
    assert compose.resolved(cfg) == compose.resolved(elsewhere)


def test_random_weights_are_frozen_nowhere(small_sample):
    cfg = config("detection", small_sample)
    backbone, stage = cfg.model.backbone, cfg.model.roi_head.shared_head
    assert (backbone.frozen_stages, backbone.norm_eval, backbone.norm_frozen) == (-1, False, False)
    assert (stage.norm_eval, stage.norm_frozen) == (False, False)


def test_fewer_images_than_a_batch_are_reported(small_sample, tmp_path):
    cfg = config("segmentation", small_sample)  # 8 images, batches of 16
    with pytest.raises(UserError, match="8 training images, fewer than a batch of 16"):
        finetune(cfg, "identity", tmp_path)


@pytest.mark.parametrize(
    "precision",
    [
        pytest.param("float32", marks=pytest.mark.slow),
        pytest.param("bfloat16", marks=pytest.mark.long),  # without such a processor
    ],
)
@pytest.mark.parametrize("task", protocols.TASKS)
def test_a_cell_trains_and_is_tested(task, precision, small_sample, tmp_path):
    torch.manual_seed(0)
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "r18.pth")
    overrides = {**FEW_IMAGES, **SMALL[task]}
    weights = str(tmp_path / "r18.pth")
    cfg = config(task, small_sample, precision=precision, weights=weights, overrides=overrides)
    outcome = finetune(cfg, "identity", tmp_path / "work")
    assert outcome.lr == pytest.approx(RATES[task])
    assert outcome.batch_size == 2
    assert outcome.curve[0]["lr"] == pytest.approx(RATES[task])
    losses = [point["loss"] for point in outcome.curve]
    assert len(losses) >= 4
    assert min(losses[-2:]) < losses[0]
    headline = outcome.metrics[protocols.HEADLINE[task]]
    assert 0 <= headline <= 100


@pytest.fixture
def voc(tmp_path, small_sample):
    """The sample's images under VOC's class names, as a named config reads them."""
    root = tmp_path / "VOCdevkit"
    for year in ("VOC2007", "VOC2012"):
        source = small_sample / "VOCdevkit" / year
        (root / year).mkdir(parents=True)
        (root / year / "JPEGImages").symlink_to(source / "JPEGImages")
        (root / year / "ImageSets").symlink_to(source / "ImageSets")
        (root / year / "Annotations").mkdir()
        for file in (source / "Annotations").glob("*.xml"):
            text = file.read_text()
            for own in ("beetle", "bird", "fish", "flower", "house", "mug"):
                text = text.replace(f"<name>{own}<", "<name>bird<")
            (root / year / "Annotations" / file.name).write_text(text)
    return root


NAMED = {
    "detection": "detection/faster-rcnn_r50-c4_gluoncv_voc0712.py",
    "segmentation": "segmentation/fcn_r50-d8_gluoncv_ade20k-480x480.py",
}


@pytest.mark.long
@pytest.mark.parametrize("task", protocols.TASKS)
def test_the_toolboxes_own_tool_trains_the_named_config(task, small_sample, voc, tmp_path):
    toolbox = {"detection": mmdet, "segmentation": mmseg}[task]
    tool = Path(toolbox.__path__[0]) / ".mim/tools/train.py"
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "r18.pth")
    classifier = {"architecture": "resnet18", "weights": str(tmp_path / "r18.pth")}
    options = {**NO_WORKERS, **FEW_IMAGES, **SMALL[task]}
    options |= {f"model.backbone.{key}": value for key, value in classifier.items()}
    if task == "detection":
        options |= {f"model.roi_head.shared_head.{k}": v for k, v in classifier.items()}
        options |= {
            "model.rpn_head.in_channels": 256,
            "model.roi_head.bbox_roi_extractor.out_channels": 256,
            "model.roi_head.bbox_head.in_channels": 512,
            "val_dataloader.dataset.data_root": str(voc),
        }
        for i in range(2):
            options[f"train_dataloader.dataset.dataset.datasets.{i}.data_root"] = str(voc)
    else:
        root = str(small_sample / "ADEChallengeData2016")
        options |= {
            "model.decode_head.in_channels": 512,
            "model.auxiliary_head.in_channels": 256,
            "val_dataloader.dataset.data_root": root,
            "train_dataloader.dataset.dataset.data_root": root,
        }
    options["train_cfg.val_interval"] = 1
    settings = [f"{key}={value}".replace(" ", "") for key, value in options.items()]
    command = [sys.executable, str(tool), str(CONFIGS / NAMED[task]), "--cfg-options", *settings]
    work = ["--work-dir", str(tmp_path / "work")]
    run = subprocess.run([*command, *work], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    metric = protocols.HEADLINE[task]
    assert f"{metric}: " in run.stdout + run.stderr
