"""Configs of the toolboxes as protocols: what is read, placed, refused, and never executed."""

import ast
import dataclasses
import json
import re
import sys
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope

from backbones.common.errors import UserError
from backbones.openmmlab.backbone import feature_shape
from tests.support.composed import MEAN, STD, cell
from tests.support.suites import plan_of, suite_file
from transfer import run
from transfer.compat.foreign_configs import fault_of_record
from transfer.datasets import catalogue
from transfer.plan import suites
from transfer.protocols import compose, protocol_files
from transfer.protocols.trial import require_working
from transfer.records.records import config_entry

BOXES, MASKS = 6, 10
"""Classes of the sample."""

DETECTORS = {
    "retinanet/retinanet_r50_fpn_1x_coco": (0, 1, 2, 3),
    "fcos/fcos_r50-caffe_fpn_gn-head_1x_coco": (0, 1, 2, 3),
    "mask_rcnn/mask-rcnn_r50_fpn_1x_coco": (0, 1, 2, 3),
    "cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco": (0, 1, 2, 3),
    "faster_rcnn/faster-rcnn_r50-caffe-c4_ms-1x_coco": (2,),
    "dino/dino-4scale_r50_8xb2-12e_coco": (1, 2, 3),
    "deformable_detr/deformable-detr_r50_16xb2-50e_coco": (1, 2, 3),
}
"""Packaged configs, with the maps that they take."""

SEGMENTERS = {
    "upernet/upernet_r50_4xb4-80k_ade20k-512x512": 32,
    "deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512": 8,
    "pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512": 8,
    "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512": 32,
}
"""Packaged configs, with their output stride."""

QUERIES = "mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py"
"""A segmenter made of parts of MMDetection."""

PACKAGED = [
    *(f"mmdet::{name}.py" for name in DETECTORS),
    *(f"mmseg::{name}.py" for name in SEGMENTERS),
]


def cell_of(protocol, architecture="resnet18", **changes):
    own = protocol_files.read(str(protocol))
    return dataclasses.replace(
        cell(own.task, architecture=architecture, **changes),
        protocol=own.name,
        protocol_version=own.version,
        protocol_config=own.config,
    )


def composed(protocol, small_sample, architecture="resnet18", **changes):
    data = catalogue.load("sample", small_sample.parent)
    the_cell = cell_of(protocol, architecture, **changes)
    return compose.compose(the_cell, data, weights="file.pth", mean=MEAN, std=STD)


def written(folder, text, name="mine"):
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


RETINANET = '_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"\n'
UPERNET = '_base_ = "mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py"\n'


# --- What is placed -------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PACKAGED)
def test_channels_classes_data_and_metric_are_set_in_packaged_configs(protocol, small_sample):
    cfg = composed(protocol, small_sample)
    model, channels = cfg.model, feature_shape("resnet18").channels
    name = protocol.partition("::")[2].removesuffix(".py")
    assert model.backbone.type == "TimmPyramid"
    assert (model.data_preprocessor.mean, model.data_preprocessor.std) == (list(MEAN), list(STD))
    counts = set(re.findall(r"'num_classes': (\d+)", str(compose.resolved(cfg)["model"])))
    if name in DETECTORS:
        assert model.backbone.out_indices == DETECTORS[name]
        taken = [channels[i] for i in DETECTORS[name]]
        assert (
            model.get("neck", {}).get(
                "in_channels", [model.rpn_head.in_channels] if "rpn_head" in model else None
            )
            == taken
        )
        assert counts - {"1"} == {str(BOXES)}
        assert cfg.val_evaluator.type == "BoxAP"
        assert cfg.val_evaluator.form == "coco"
        leaf = cfg.val_dataloader.dataset
        assert leaf.type == "VocBoxes"
    else:
        stride = model.backbone.output_stride
        assert (model.backbone.out_indices, stride) == ((0, 1, 2, 3), SEGMENTERS[name])
        head = model.decode_head
        index = head.in_index
        wanted = [channels[i] for i in index] if isinstance(index, list) else channels[index]
        assert head.in_channels == wanted
        assert head.get("c1_in_channels", channels[0]) == channels[0]
        assert counts == {str(MASKS)}
        assert cfg.val_evaluator.type == "MaskIoU"
        assert cfg.val_dataloader.dataset.type == "IndexMasks"
    assert cfg.train_dataloader.dataset.type == "ReplayableDataset"
    assert cfg.train_cfg.type == "ResumableTrainLoop"
    assert "coco" not in str(cfg.train_dataloader).lower()
    assert fault_of_record(compose.resolved(cfg)) is None, (
        "'transfer show' builds it from its record"
    )


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [*PACKAGED, QUERIES])
def test_packaged_configs_test_an_image_and_compute_a_loss(protocol, small_sample):
    require_working(composed(protocol, small_sample), "packaged", "resnet18")


@pytest.mark.parametrize("protocol", PACKAGED)
def test_rows_of_a_packaged_config_differ_in_the_backbone_alone(protocol, small_sample):
    one, other = (
        config_entry(compose.resolved(composed(protocol, small_sample, architecture, **changes)))
        for architecture, changes in (("resnet18", {}), ("resnet50", {"scratch": True, "seed": 1}))
    )
    assert one["comparable_sha256"] == other["comparable_sha256"]


def test_frozen_parts_are_those_of_the_configs_backbone(small_sample):
    backbone = composed(PACKAGED[0], small_sample).model.backbone
    assert (backbone.frozen_stages, backbone.norm_eval, backbone.norm_frozen) == (1, True, False)
    fcos = composed(PACKAGED[1], small_sample).model.backbone
    assert fcos.norm_frozen, "its norms have requires_grad=False"
    psp = composed(PACKAGED[-2], small_sample).model.backbone
    assert (psp.frozen_stages, psp.norm_eval, psp.norm_sync) == (-1, False, True)
    scratch = composed(PACKAGED[1], small_sample, scratch=True).model.backbone
    assert (scratch.frozen_stages, scratch.norm_eval, scratch.norm_frozen) == (-1, False, False)


def test_objects_without_masks_have_their_boxes_as_masks(small_sample):
    from mmengine.registry import DATASETS

    import transfer.openmmlab  # noqa: F401

    cfg = composed("mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py", small_sample)
    leaf = cfg.train_dataloader.dataset.dataset
    leaf = leaf.datasets[0] if "datasets" in leaf else leaf
    leaf.pipeline = [step for step in leaf.pipeline if step.type not in ("Resize", "RandomFlip")]
    with DefaultScope.overwrite_default_scope("mmdet"):
        objects = DATASETS.build(leaf)[0]["data_samples"].gt_instances
    for box, mask in zip(objects.bboxes.tensor, objects.masks.masks, strict=True):
        rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
        left, top, right, bottom = box.tolist()
        assert abs(columns.min() - left) <= 1
        assert abs(columns.max() + 1 - right) <= 1
        assert abs(rows.min() - top) <= 1
        assert abs(rows.max() + 1 - bottom) <= 1
    steps = [step for step in cfg.val_dataloader.dataset.pipeline if "with_mask" in step]
    assert [step.with_mask for step in steps] == [False], "boxes alone are judged"


def test_a_backbone_may_be_given_by_hand(tmp_path, small_sample):
    text = RETINANET + (
        'model = dict(backbone=dict(_delete_=True, type="TimmPyramid", out_indices=(1, 2, 3)),'
        " neck=dict(in_channels=[1, 2, 3], start_level=0))\n"
    )
    cfg = composed(written(tmp_path, text), small_sample)
    assert cfg.model.backbone.out_indices == (1, 2, 3)
    assert cfg.model.neck.in_channels == [128, 256, 512]


def test_a_form_of_average_precision_is_kept(tmp_path, small_sample):
    text = RETINANET + 'val_evaluator = dict(_delete_=True, type="VOCMetric", eval_mode="area")\n'
    assert composed(written(tmp_path, text), small_sample).val_evaluator.form == "area"


def test_equal_weights_of_classes_follow_their_number(tmp_path, small_sample):
    loss = 'dict(type="CrossEntropyLoss", class_weight=[1.0] * 150 + [0.1])'
    text = UPERNET + f"model = dict(decode_head=dict(loss_decode={loss}))\n"
    cfg = composed(written(tmp_path, text), small_sample)
    assert cfg.model.decode_head.loss_decode.class_weight == [1.0] * MASKS + [0.1]


def test_the_learning_rate_is_for_the_stated_batch_size_or_the_files_own(small_sample):
    retinanet = composed(PACKAGED[0], small_sample)
    assert retinanet.auto_scale_lr == {"enable": True, "base_batch_size": 16}
    upernet = composed(PACKAGED[len(DETECTORS)], small_sample)
    assert upernet.auto_scale_lr == {"enable": True, "base_batch_size": 4}


def test_a_class_of_the_other_toolbox_is_not_the_equal_named_one(tmp_path, small_sample):
    loss = 'dict(_delete_=True, type="KIND")'
    text = UPERNET + f"model = dict(decode_head=dict(loss_decode={loss}))\n"
    for given, kept in (
        ("mmdet.FocalLoss", "mmdet.FocalLoss"),
        ("mmdet.models.losses.FocalLoss", "mmdet.FocalLoss"),
        ("mmseg.FocalLoss", "FocalLoss"),
        ("mmseg.models.losses.FocalLoss", "FocalLoss"),
    ):
        cfg = composed(written(tmp_path, text.replace("KIND", given)), small_sample)
        assert cfg.model.decode_head.loss_decode.type == kept
    optimizer = 'optim_wrapper = dict(optimizer=dict(type="torch.optim.AdamW"))\n'
    cfg = composed(written(tmp_path, UPERNET + optimizer), small_sample)
    assert cfg.optim_wrapper.optimizer.type == "AdamW"


def test_a_head_that_takes_all_maps_gets_their_channels_and_classes(small_sample):
    head = composed(QUERIES, small_sample).model.decode_head
    assert head.in_channels == list(feature_shape("resnet18").channels)
    assert head.out_channels == 256, "those of its maps, not of the classes"
    assert head.loss_cls["class_weight"] == [1.0] * MASKS + [0.1]
    assert head.pixel_decoder.type == "mmdet.MSDeformAttnPixelDecoder"


def test_a_delete_that_had_nothing_to_delete_is_no_setting(tmp_path, small_sample):
    text = RETINANET + (
        'optim_wrapper = dict(constructor="LayerDecay", paramwise_cfg=dict(_delete_=True, '
        "layer_decay=0.9))\n"
        'param_scheduler = [dict(_delete_=True, type="ConstantLR", factor=1.0)]\n'
    )
    cfg = composed(written(tmp_path, text), small_sample)
    assert cfg.optim_wrapper.paramwise_cfg == {"layer_decay": 0.9}
    assert "_delete_" not in str(cfg)


def test_the_order_of_channels_is_the_rows(tmp_path, small_sample):
    text = RETINANET + ("model = dict(data_preprocessor=dict(bgr_to_rgb=False, rgb_to_bgr=True))\n")
    preprocessor = composed(written(tmp_path, text), small_sample).model.data_preprocessor
    assert preprocessor.bgr_to_rgb
    assert "rgb_to_bgr" not in preprocessor


# --- Identity -------------------------------------------------------------------------------------


def test_the_version_is_of_the_resolved_config(tmp_path):
    plain = protocol_files.read(str(written(tmp_path, RETINANET)))
    assert plain.task == "detection"
    assert plain.name == "mine"
    commented = written(tmp_path, "# nothing\nrate = 0.01\n" + RETINANET, "other")
    assert protocol_files.read(str(commented)).version == plain.version
    changed = RETINANET + "optim_wrapper = dict(optimizer=dict(lr=rate))\n"
    same = protocol_files.read(str(written(tmp_path, "rate = 0.01\n" + changed)))
    other = protocol_files.read(str(written(tmp_path, "rate = 0.02\n" + changed)))
    assert (same.version, other.version) == (plain.version, other.version)
    assert other.version != plain.version
    assert ast.literal_eval(plain.config)["default_scope"] == "mmdet"


def test_a_cell_is_identified_by_the_version_and_travels_with_the_config(tmp_path):
    of_file = cell_of(written(tmp_path, RETINANET))
    assert of_file.id == dataclasses.replace(of_file, protocol_config="").id
    assert of_file.id != dataclasses.replace(of_file, protocol_version="other").id
    assert "protocol_config" not in of_file.plain()
    json.dumps(of_file.plain())


def test_a_bases_change_is_another_version(tmp_path):
    written(tmp_path, RETINANET, "base")
    top = written(tmp_path, '_base_ = "base.py"\n', "top")
    before = protocol_files.read(str(top)).version
    written(tmp_path, RETINANET + "train_cfg = dict(max_epochs=3)\n", "base")
    assert protocol_files.read(str(top)).version != before


def test_an_edit_of_an_imported_module_is_another_version(tmp_path, monkeypatch, small_sample):
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "module_of_mine.py"
    module.write_text("value = 1\n")
    path = written(
        tmp_path, RETINANET + 'custom_imports = dict(imports=["module_of_mine", "mmdet.models"])\n'
    )
    own = protocol_files.read(str(path))
    assert protocol_files.read(str(path)) == own
    planned = cell_of(path)
    module.write_text("value = 2\n")
    assert protocol_files.read(str(path)).version != own.version
    sample = catalogue.load("sample", small_sample.parent)
    with pytest.raises(UserError, match=r"module_of_mine.* is not the one for which"):
        compose.compose(planned, sample, weights="file.pth", mean=MEAN, std=STD)
    assert "module_of_mine" not in sys.modules


@pytest.mark.parametrize(
    "text",
    [
        'custom_imports = dict(imports=["mmdet.models", "transfer.openmmlab"])',
        'default_hooks = dict(logger=dict(type="LoggerHook", interval=7), timer=None)',
    ],
)
def test_settings_without_effect_are_not_in_the_version(text, tmp_path):
    own = protocol_files.read(str(written(tmp_path, RETINANET + text + "\n")))
    kept = ast.literal_eval(own.config)
    assert not {"imported_sources", "default_hooks"} & set(kept)


FORMER = """
default_scope = "mmdet"
model = dict(type="RetinaNet", backbone=dict(type="ResNet", depth=50))
custom_imports = dict(imports=["mmdet.models"])
default_hooks = dict(logger=dict(type="LoggerHook"))
optim_wrapper = dict(type="mmengine.optim.OptimWrapper", optimizer=dict(type="torch.optim.SGD"))
"""


def test_a_version_stays_that_of_former_records(tmp_path):
    assert protocol_files.read(str(written(tmp_path, FORMER))).version == "58ff4431"


# --- What is refused ------------------------------------------------------------------------------

BAD_FILES = {
    "def broken(:\n": "not valid Python",
    "print('hello')\n": "no 'model'",
    "import os\nmodel = 3\n": "no 'model'",
    "raise ValueError('of its own')\n": "of its own",
    "import sys\nsys.exit(3)\n": "SystemExit",
    '_base_ = "nowhere.py"\n': "nowhere.py",
    '_base_ = "mine.py"\n': "inherits from itself",
    '_base_ = "mmpretrain::resnet/resnet50_8xb32_in1k.py"\n': "mmpretrain",
    'default_scope = "mmpretrain"\nmodel = dict(backbone=dict(type="ResNet"))\n': "mmpretrain",
    'model = dict(backbone=dict(type="ResNet"))\n': "default_scope",
    'default_scope = "mmdet"\nmodel = dict(type="RetinaNet")\n': "model.backbone",
    RETINANET + "model = dict(train_cfg=dict(allowed_border=print))\n": "model.train_cfg",
    RETINANET + 'model = dict(test_cfg=dict(score_thr=float("inf")))\n': "model.test_cfg.score_thr",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_file_that_is_no_protocol_is_one_sentence(text, tmp_path, capsys):
    path = written(tmp_path, text)
    command = ["--backbone", "resnet18_scratch", "--data", "sample", "--protocol", str(path)]
    assert run.main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert BAD_FILES[text] in error
    assert str(path) in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.py", "does not exist"),
        ("folder.py", "is a folder"),
        ("folder.py/", "is a folder"),
        ("notes.txt", "does not end in .py"),
        ("mmdet::retinanet/retinanet_r50_fpn_2x_coc.py", "retinanet_r50_fpn_2x_coco.py"),
        ("mmdet::../../__init__.py", "leads out"),
        ("nobody::a/b.py", "no package 'nobody'"),
        ("quick.py", "name of a protocol of this project"),
        ("a b.py", "rename the file"),
    ],
)
def test_a_name_that_is_no_protocol_is_one_sentence(name, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("folder.py").mkdir()
    for file in ("notes.txt", "quick.py", "a b.py"):
        Path(file).write_text(RETINANET)
    command = ["--backbone", "resnet18_scratch", "--data", "sample", "--protocol", name]
    assert run.main([*command, "--task", "detection"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


MISFITS = {
    "a backbone without maps of these strides": (
        "model = dict(backbone=dict(strides=(1, 1, 1, 1)))",
        "model.backbone",
    ),
    "an unknown backbone": (
        'model = dict(backbone=dict(_delete_=True, type="Nothing"))',
        "model.backbone",
    ),
    "a neck of fewer maps": ("model = dict(neck=dict(in_channels=[1, 2]))", "model.neck"),
    "no neck": ("model = dict(neck=None)", "model.bbox_head"),
    "no classes": (
        'model = dict(bbox_head=dict(_delete_=True, type="RetinaHead", in_channels=256))',
        "num_classes",
    ),
    "weights of classes": (
        "model = dict(bbox_head=dict(loss_cls=dict(class_weight=[1.0, 2.0])))",
        "class_weight",
    ),
    "weights of classes that are not counted": (
        'model = dict(bbox_head=dict(_delete_=True, type="RetinaHead", in_channels=256, '
        "loss_cls=dict(class_weight=[1.0] * 80 + [0.1])))",
        "head without 'num_classes'",
    ),
    "weights of a whole network": (
        'model = dict(init_cfg=dict(type="Pretrained", checkpoint="a.pth"))',
        "init_cfg",
    ),
    "another hook": ('custom_hooks = [dict(type="EMAHook")]', "custom_hooks.0"),
    "another hook in the place of a usual one": (
        'default_hooks = dict(logger=dict(type="EMAHook"))',
        "'default_hooks.logger' is EMAHook",
    ),
    "another hook among the usual ones": (
        'default_hooks = dict(ema=dict(type="EMAHook"))',
        "default_hooks = dict(ema=None)",
    ),
    "another wrapper of the optimizer": (
        'optim_wrapper = dict(type="ApexOptimWrapper")',
        "optim_wrapper.type",
    ),
    "images that are normalised twice": (
        'train_dataloader = dict(dataset=dict(pipeline=[dict(type="LoadAnnotations"), '
        'dict(type="mmcv.Normalize", mean=[0.0], std=[1.0])]))',
        "Normalize",
    ),
    "grey images": (
        "train_dataloader = dict(dataset=dict(pipeline=["
        'dict(type="LoadImageFromFile", color_type="grayscale"), dict(type="LoadAnnotations")]))',
        "color_type",
    ),
    "another sampler": (
        'train_dataloader = dict(sampler=dict(_delete_=True, type="ClassAwareSampler"))',
        "train_dataloader.sampler",
    ),
    "no schedule": ("param_scheduler = None", "param_scheduler"),
    "another optimizer": (
        'optim_wrapper = dict(constructor="LearningRateDecayOptimizerConstructor")',
        "optim_wrapper.constructor",
    ),
    "another loop": ('train_cfg = dict(type="TeacherStudentLoop")', "train_cfg"),
    "annotations that are missing": (
        'val_dataloader = dict(dataset=dict(pipeline=[dict(type="LoadImageFromFile")]))',
        "val_dataloader",
    ),
    "semantic maps": (
        'train_dataloader = dict(dataset=dict(pipeline=[dict(type="LoadAnnotations", '
        "with_seg=True)]))",
        "with_seg",
    ),
    "a module that is missing": (
        'custom_imports = dict(imports=["no_such_module_of_mine"])',
        "no_such_module_of_mine",
    ),
}


SEGMENTERS_MISFITS = {
    "a class that is ignored": (
        "model = dict(decode_head=dict(ignore_index=0))",
        "'model: UPerHead.ignore_index' is 0",
    ),
    "a class that is padded with": (
        "model = dict(data_preprocessor=dict(seg_pad_val=0))",
        "seg_pad_val",
    ),
    "one channel for all classes": (
        "model = dict(decode_head=dict(num_classes=2, out_channels=1, loss_decode=dict("
        'type="CrossEntropyLoss", use_sigmoid=True)))',
        "model.decode_head.out_channels",
    ),
    "weights of classes and of none": (
        "model = dict(decode_head=dict(loss_decode=dict(class_weight=[1.0, 2.0] * 75 + [0.1])))",
        "class_weight=[1.0] * 150 + [0.1]",
    ),
}


@pytest.mark.parametrize("case", SEGMENTERS_MISFITS)
def test_what_cannot_be_placed_in_a_segmenter_is_named(case, tmp_path, small_sample):
    text, said = SEGMENTERS_MISFITS[case]
    with pytest.raises(UserError) as error:
        composed(written(tmp_path, UPERNET + text + "\n"), small_sample)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("case", MISFITS)
def test_what_cannot_be_placed_is_named(case, tmp_path, small_sample):
    text, field = MISFITS[case]
    path = written(tmp_path, RETINANET + text + "\n")
    with pytest.raises(UserError) as error:
        composed(path, small_sample)
    assert field in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model = dict(bbox_head=dict(in_channels=128))", "RetinaNet"),  # the neck gives 256
        (
            "train_dataloader = dict(dataset=dict(pipeline=["
            'dict(type="LoadAnnotations"), dict(type="Nothing")]))',
            "Nothing",
        ),
        (
            "model = dict(train_cfg=None)",
            "RetinaNet\\) cannot compute the loss",
        ),
        (
            "train_dataloader = dict(dataset=dict(pipeline=["
            'dict(type="LoadAnnotations", with_bbox=False)]))',
            "RetinaNet\\) cannot compute the loss",
        ),
    ],
)
def test_parts_that_do_not_fit_together_are_found_before_a_run(text, said, tmp_path, small_sample):
    cfg = composed(written(tmp_path, RETINANET + text + "\n"), small_sample)
    with pytest.raises(UserError, match=said):
        require_working(cfg, "mine", "resnet18")


# --- Suites and the command -----------------------------------------------------------------------

SUITE = """
kind = "transfer"
data = "sample"
rows = ["resnet18_scratch"]
protocol = "PROTOCOL"
"""


def test_a_suite_alone_executes_no_file(tmp_path):
    marker = tmp_path / "marker"
    path = written(tmp_path, f"open({str(marker)!r}, 'w')\n" + RETINANET)
    for name in (
        "mine.py",
        str(path),
        "../" + tmp_path.name + "/mine.py",
        str(path)[:-3],
        "./mine",
    ):
        with pytest.raises(UserError) as error:
            plan_of(SUITE.replace("PROTOCOL", name), tmp_path)
        assert "mine" in str(error.value)
        assert not marker.exists()
    plan = plan_of(SUITE.replace("PROTOCOL", "mine.py"), tmp_path, protocol=str(path))
    assert marker.exists()
    assert [(c.task, c.protocol) for c in plan.cells] == [("detection", "mine")]


def test_a_suite_may_name_a_packaged_config(tmp_path):
    plan = plan_of(SUITE.replace("PROTOCOL", PACKAGED[-1]), tmp_path)
    assert [c.task for c in plan.cells] == ["segmentation"]
    assert any("detection is left out" in remark for remark in plan.remarks)


def test_a_suites_file_is_beside_it(tmp_path):
    suite = suites.load(suite_file(tmp_path, SUITE.replace("PROTOCOL", "mine.py")))
    assert suite.protocol == str(tmp_path / "mine.py")


def test_the_other_task_is_refused(tmp_path, capsys):
    command = ["--backbone", "resnet18_scratch", "--data", "sample", "--task", "segmentation"]
    assert run.main([*command, "--protocol", str(written(tmp_path, RETINANET))]) == 2
    assert "--task detection" in capsys.readouterr().err


def test_a_dry_run_names_what_does_not_fit(tmp_path, capsys, small_sample):
    path = written(tmp_path, RETINANET + 'custom_hooks = [dict(type="EMAHook")]\n')
    command = ["--backbone", "resnet18_scratch", "--data", "sample", "--dry-run"]
    assert run.main([*command, "--protocol", str(path)]) == 2
    assert "custom_hooks.0" in capsys.readouterr().err
