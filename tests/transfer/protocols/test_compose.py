import dataclasses
import json
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope

import transfer.openmmlab  # noqa: F401
from backbones.zoo import zoo
from tests.support.composed import MEAN, STD, cell, composed
from transfer.datasets import catalogue
from transfer.protocols import compose, protocols
from transfer.records.records import compared, config_entry
from transfer.speed import winograd

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
PROTOCOLS = [(task, name) for task in protocols.TASKS for name in protocols.names(task)]


def built(cfg):
    cfg.model.backbone.weights = None
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model)


def test_the_segmenters_map_has_stride_8(small_sample):
    cfg = composed(cell("segmentation", architecture="resnet18d"), small_sample)
    model = built(cfg).eval()
    with torch.no_grad():
        maps = model.extract_feat(torch.zeros(1, 3, 128, 64))
        logits = model.decode_head(maps)
    assert logits.shape == (1, 10, 16, 8)
    assert model.auxiliary_head(maps).shape == (1, 10, 16, 8)


@pytest.mark.parametrize("task", protocols.TASKS)
def test_what_was_changed_in_a_runs_tests_is_changed_where_its_record_is_shown(task, small_sample):
    scale = "val_dataloader.dataset.pipeline.1.scale"
    planned = dataclasses.replace(
        cell(task), overrides=((scale, (96, 64)), ("val_dataloader.batch_size", 3))
    )
    recorded = json.loads(json.dumps(compose.resolved(composed(planned, small_sample))))
    shown = compose.located(recorded, catalogue.load("sample", small_sample.parent))
    assert shown.val_dataloader.batch_size == 3
    assert tuple(shown.val_dataloader.dataset.pipeline[1].scale) == (96, 64)
    assert Path(shown.val_dataloader.dataset.data_root).is_relative_to(small_sample)


@pytest.mark.parametrize("architecture", ["resnet18", "resnet18d", "resnet50"])
def test_the_detector_of_quick_multiplies_as_the_toolbox_does(
    architecture, small_sample, monkeypatch
):
    """Its figures were found equal to stock training's before Winograd's convolutions were here."""
    taken = []
    monkeypatch.setattr(winograd, "cpu_flags", frozenset)
    monkeypatch.setattr(winograd, "convolve", lambda *given: taken.append(given))
    cfg = composed(cell("detection", architecture=architecture), small_sample)
    model = built(cfg)
    winograd.WinogradConvolutions().install(types.SimpleNamespace(model=model))
    (largest,) = {step.scale for step in cfg.train_pipeline if step.type == "Resize"}
    both_ways = (max(largest), max(largest))  # a test batch may mix orientations
    for loader, size in ((cfg.train_dataloader, largest), (cfg.test_dataloader, both_ways)):
        with torch.no_grad():
            maps = model.extract_feat(torch.zeros(loader.batch_size, 3, *size))
            model.rpn_head(maps)
    assert taken == []


@pytest.mark.parametrize("architecture", ["resnet18", "mobilenetv1_100", "ecaresnet26t"])
def test_the_neck_knows_the_channels(architecture, small_sample):
    model = built(composed(cell("detection", architecture=architecture), small_sample)).eval()
    with torch.no_grad():
        maps = model.extract_feat(torch.zeros(1, 3, 64, 64))
    assert [m.shape[1:] for m in maps] == [(128, s, s) for s in (16, 8, 4, 2, 1)]


@pytest.mark.parametrize("task", protocols.TASKS)
def test_preprocessing_is_the_classifiers(task, small_sample):
    model = built(composed(cell(task, architecture="resnet18"), small_sample))
    preprocessor = model.data_preprocessor
    assert preprocessor.mean.flatten().tolist() == pytest.approx(MEAN)
    assert preprocessor.std.flatten().tolist() == pytest.approx(STD)
    assert preprocessor._channel_conversion, "images are read as BGR, classifiers want RGB"


def test_random_weights_are_never_frozen(small_sample):
    model = built(composed(cell("detection", architecture="resnet18", scratch=True), small_sample))
    assert all(p.requires_grad for p in model.backbone.parameters())
    assert all(norm.training for norm in model.train().backbone._norms())


def test_pretrained_ones_are_as_the_protocol_says(small_sample):
    model = built(composed(cell("detection", architecture="resnet18"), small_sample)).train()
    frozen = [n for n, p in model.backbone.network.named_parameters() if not p.requires_grad]
    assert {name.split(".")[0] for name in frozen} == {"conv1", "bn1", "layer1"}
    assert not any(norm.training for norm in model.backbone._norms())


def test_an_override_has_lists_where_the_config_has_them(small_sample):
    place = "train_dataloader.dataset.dataset.pipeline.3.scale"
    planned = dataclasses.replace(
        cell("segmentation", protocol="paper"), overrides=((place, ((640, 16), (640, 64))),)
    )
    resize = composed(planned, small_sample).train_dataloader.dataset.dataset.pipeline[3]
    with DefaultScope.overwrite_default_scope("mmseg"):
        transform = TRANSFORMS.build(resize)
    shown = transform({"img": np.zeros((32, 48, 3), np.uint8), "seg_fields": []})
    assert 16 <= min(shown["img"].shape[:2]) <= 64


def test_the_identity_does_not_tell_where_files_lie(small_sample):
    one = composed(cell("detection"), small_sample, weights="/here/a.pth")
    other = composed(cell("detection"), small_sample, weights="/there/b.pth")
    other.train_dataloader.dataset.dataset.datasets[0].data_root = "/elsewhere"
    assert compose.resolved(one) == compose.resolved(other)
    assert "/here" not in json.dumps(compose.resolved(one))


@pytest.mark.parametrize(("task", "protocol"), PROTOCOLS)
@pytest.mark.parametrize(
    "other",
    [
        {"architecture": "resnet50d"},
        {"architecture": "resnet18"},
        {"scratch": True},
        {"seed": 3},
    ],
)
def test_rows_of_a_table_differ_in_the_backbone_alone(task, protocol, other, small_sample):
    """Each protocol's own config, resolved for each kind of row, is one and the same elsewhere."""

    def hashed(changed, *overrides):
        comparable = cell(task, protocol, **{"architecture": "resnet50", **changed})
        cfg = composed(dataclasses.replace(comparable, overrides=overrides), small_sample)
        return config_entry(compose.resolved(cfg))["comparable_sha256"]

    assert hashed(other) == hashed({})
    assert hashed({}, ("optim_wrapper.optimizer.lr", 0.123)) != hashed({})


COUNT_ITERATIONS = {
    ("segmentation", "openmmlab"): (80_000 * 16, 0.01),
    ("segmentation", "modern"): (160_000 * 16, 6e-5),
}
"""Images seen and the learning rate; the others count epochs, which are as long for any batch."""


def test_which_protocols_count_iterations(small_sample):
    loops = {key: composed(cell(*key), small_sample).train_cfg for key in PROTOCOLS}
    assert {key for key, loop in loops.items() if "max_iters" in loop} == COUNT_ITERATIONS.keys()
    assert all(("max_epochs" in loop) != ("max_iters" in loop) for loop in loops.values())


@pytest.mark.parametrize("processes", [1, 2, 4, 8, 16])
@pytest.mark.parametrize(("task", "protocol"), COUNT_ITERATIONS)
def test_as_many_images_are_seen_whatever_the_number_of_processes(
    task, protocol, processes, small_sample, monkeypatch
):
    monkeypatch.setattr("transfer.protocols.shared_batch.hardware.cuda_devices", lambda: processes)
    cfg = composed(cell(task, protocol, processes=processes), small_sample)
    whole = processes * cfg.train_dataloader.batch_size
    scaled = whole / cfg.auto_scale_lr.base_batch_size if cfg.auto_scale_lr.enable else 1
    rate = scaled * cfg.optim_wrapper.optimizer.lr
    assert (cfg.train_cfg.max_iters * whole, rate) == COUNT_ITERATIONS[task, protocol]


NAMED = {
    "detection/faster-rcnn_r50_fpn_1x_voc0712.py": ("openmmlab", "resnet50_baseline"),
    "detection/faster-rcnn_r50d-tricks_fpn_1x_voc0712.py": ("openmmlab", "resnet50d_tricks"),
    "detection/faster-rcnn_r50_fpn_quick_sample.py": ("quick", "resnet50_baseline"),
    "detection/faster-rcnn_r50d-tricks_fpn_quick_sample.py": ("quick", "resnet50d_tricks"),
    "detection/faster-rcnn_r50-c4_gluoncv_voc0712.py": ("paper", "resnet50_baseline"),
    "detection/faster-rcnn_r50d-tricks-c4_gluoncv_voc0712.py": ("paper", "resnet50d_tricks"),
    "segmentation/fcn_r50-d8_4xb4-80k_ade20k-512x512.py": ("openmmlab", "resnet50_baseline"),
    "segmentation/fcn_r50d-tricks-d8_4xb4-80k_ade20k-512x512.py": (
        "openmmlab",
        "resnet50d_tricks",
    ),
    "segmentation/fcn_r50-d8_gluoncv_ade20k-480x480.py": ("paper", "resnet50_baseline"),
    "segmentation/fcn_r50d-tricks-d8_gluoncv_ade20k-480x480.py": ("paper", "resnet50d_tricks"),
    "segmentation/fcn_r50-d8_quick_sample.py": ("quick", "resnet50_baseline"),
    "segmentation/fcn_r50d-tricks-d8_quick_sample.py": ("quick", "resnet50d_tricks"),
}


def test_every_named_config_is_looked_at():
    files = {
        str(p.relative_to(CONFIGS))
        for p in CONFIGS.glob("*/*.py")
        if p.parent.name in protocols.TASKS
    }
    assert files == NAMED.keys()


@pytest.mark.parametrize("file", NAMED)
def test_named_configs_are_what_the_driver_runs(file, small_sample):
    """Same model, optimiser, schedule, augmentation and test; the loop and the paths may differ."""
    protocol, row_name = NAMED[file]
    row = zoo.find(row_name)
    task = file.split("/")[0]
    named = Config.fromfile(CONFIGS / file)
    classes = sample_classes(task, small_sample) if protocol == "quick" else None
    driven = composed(cell(task, protocol, row.architecture, backbone=row.name), small_sample)
    for cfg in (named, driven):
        cfg.model.backbone.weights = None
        if "shared_head" in cfg.model.get("roi_head", {}):
            cfg.model.roi_head.shared_head.weights = None
        cfg.model.data_preprocessor.update(mean=0, std=0)
        if classes is None:  # the driver was given the sample in the place of VOC or ADE20K
            for head in ("decode_head", "auxiliary_head"):
                if head in cfg.model:
                    cfg.model[head].num_classes = 0
            if task == "detection":
                cfg.model.roi_head.bbox_head.num_classes = 0
    names = ("model", "optim_wrapper", "param_scheduler", "auto_scale_lr")
    for name in names:
        assert plain(named[name]) == plain(driven[name])
    for loader in ("train_dataloader", "val_dataloader"):
        assert steps(named[loader]) == steps(driven[loader])
        assert named[loader].batch_size == driven[loader].batch_size
    length = "max_epochs" if "max_epochs" in driven.train_cfg else "max_iters"
    assert named.train_cfg[length] == driven.train_cfg[length]


def sample_classes(task, small_sample):
    return getattr(catalogue.load("sample", small_sample.parent), task).classes


def plain(value):
    """Without MMEngine's marks of where a setting was inherited from."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k != "_scope_"}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def steps(loader):
    """The augmentation's steps, from wherever the data set is wrapped."""
    dataset = loader.dataset
    while "pipeline" not in dataset:
        dataset = dataset.get("dataset") or dataset.datasets[0]
    transforms = plain(dataset.pipeline)
    for step in transforms:
        step.pop("reduce_zero_label", None)  # of the data set, in the driver's configs
    return transforms


def test_a_segmenters_backbone_makes_only_the_maps_that_its_heads_read(small_sample):
    plain = composed(cell("segmentation", architecture="resnet18"), small_sample)
    assert "read" not in plain.model.backbone
    for architecture in ("test_vit", "convnext_atto"):
        cfg = composed(cell("segmentation", architecture=architecture), small_sample)
        assert cfg.model.backbone.read == [2, 3]
        own, other = (compared(compose.resolved(one)) for one in (cfg, plain))
        assert own == other, "rows of one table"
        model = built(cfg).train()
        logits = [
            head(model.extract_feat(torch.randn(2, 3, 64, 96)))
            for head in (model.decode_head, model.auxiliary_head)
        ]
        assert [each.shape[2:] for each in logits] == [(8, 12), (8, 12)]
        sum(each.mean() + each.square().mean() for each in logits).backward()
        assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("architecture", ["test_vit", "mambaout_femto"])
def test_the_neck_takes_a_transformers_pyramid(architecture, small_sample):
    model = built(composed(cell("detection", architecture=architecture), small_sample)).eval()
    with torch.no_grad():
        maps = model.extract_feat(torch.zeros(1, 3, 75, 100))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (128, 19, 25),
        (128, 10, 13),
        (128, 5, 7),
        (128, 3, 4),
        (128, 2, 2),
    ]
