"""The hook ``Speed``: its parts' order, what it says of them, and plain training with it."""

import ast
import logging
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from backbones.common.errors import UserError
from backbones.runtime.precision import Bfloat16OptimWrapper
from transfer import openmmlab  # noqa: F401
from transfer.speed import hook as speed
from transfer.speed.hook import PARTS, Speed
from transfer.speed.part import Inactive, Part

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def lines(monkeypatch):
    """What the hook logs, line by line."""
    logged = []
    monkeypatch.setattr(speed, "print_log", lambda text, logger: logged.append(text))
    return logged


def a_runner(model, **settings):
    return types.SimpleNamespace(model=model, optim_wrapper=None, cfg={}, **settings)


def names(logged):
    return [re.match(r"Speed: (\w+) is (in)?active, .", line)[1] for line in logged]


def test_every_part_has_one_line_in_the_order_in_which_they_are_installed(lines, monkeypatch):
    installed = []
    for listed in PARTS.values():
        module = __import__(f"transfer.speed.{listed.module}", fromlist=[listed.kind])
        kind = getattr(module, listed.kind)
        assert issubclass(kind, Part)
        monkeypatch.setattr(
            kind, "install", lambda self, runner: installed.append(type(self).__name__) or "it"
        )
    Speed().before_run(a_runner(torch.nn.Identity()))
    assert installed == [listed.kind for listed in PARTS.values()]
    assert names(lines) == list(PARTS)
    order = list(PARTS)
    assert order[0] == "KeptMemory"
    assert order[-1] == "ChannelsLast"
    for later in ("GraphedFeatures", "NonBlockingInputs"):  # they look at what it has replaced
        assert order.index("HostSampling") < order.index(later)


def test_a_model_that_is_none_of_the_toolboxes_is_reported_part_by_part(lines):
    Speed().before_run(a_runner(torch.nn.Linear(2, 2)))
    assert names(lines) == list(PARTS)
    reasons = dict(zip(PARTS, lines, strict=True))
    assert "is active" in reasons["KeptMemory"]
    assert "SingleRoIExtractor" in reasons["SparseRoIExtraction"]
    assert "not a two-stage detector" in reasons["HostSampling"]
    assert "GPU" in reasons["PointwiseProducts"]
    assert "bfloat16" in reasons["ChannelsLast"]
    assert "GPU" in reasons["FusedSgd"]


def test_what_has_been_said_is_not_said_again(lines):
    runner = a_runner(torch.nn.Linear(2, 2))
    hook = Speed()
    hook.before_run(runner)
    hook.before_run(runner)
    assert len(lines) == len(PARTS)
    optimizer = torch.optim.SGD(runner.model.parameters(), 0.1)
    runner.optim_wrapper = Bfloat16OptimWrapper(optimizer=optimizer)
    hook.before_run(runner)
    (again,) = lines[len(PARTS) :]
    assert again.startswith("Speed: ChannelsLast is active")


def test_parts_that_are_left_out_are_not_touched_and_say_so(lines, monkeypatch):
    monkeypatch.setattr(speed.importlib, "import_module", None)
    Speed(without=list(PARTS)).before_run(a_runner(torch.nn.Linear(2, 2)))
    assert names(lines) == list(PARTS)
    assert all("without" in line for line in lines)


@pytest.mark.parametrize(
    ("without", "message"),
    [
        (["KeepMemory"], "KeptMemory"),
        (["fusedsgd", "KeptMemory"], "FusedSgd"),
        ("KeptMemory", "list"),
        ([3], "'3'"),
    ],
)
def test_what_cannot_be_left_out_is_an_error_with_the_nearest_names(without, message):
    with pytest.raises(UserError, match=message):
        HOOKS.build({"type": "Speed", "without": without})


def test_only_active_parts_hear_of_the_run(monkeypatch, lines):
    heard = []

    class Loud(Part):
        def install(self, runner):
            return "all"

        def before_train(self, runner):
            heard.append("train")

        def before_evaluation(self):
            heard.append("evaluation")

        def after_evaluation(self):
            heard.append("evaluated")

        def require_sound(self, runner):
            heard.append("sound")

        def after_run(self):
            heard.append("run")

        def memory_advice(self, runner):
            return "leave it out"

    class Silent(Loud):
        def install(self, runner):
            raise Inactive("it has nothing to do")

    monkeypatch.setattr(
        speed,
        "PARTS",
        {"Loud": speed.Listed("part", "Loud"), "Silent": speed.Listed("part", "Silent")},
    )
    module = types.SimpleNamespace(Loud=Loud, Silent=Silent)
    monkeypatch.setattr(speed.importlib, "import_module", lambda name: module)
    hook, runner = Speed(), a_runner(torch.nn.Identity())
    hook.before_run(runner)
    hook.before_train(runner)
    hook.before_val(runner)
    hook.after_test(runner)
    hook.before_save_checkpoint(runner, checkpoint={})
    hook.after_run(runner)
    assert heard == ["train", "evaluation", "evaluated", "sound", "run"]
    assert hook.memory_advice(runner) == "leave it out"
    assert lines[1] == "Speed: Silent is inactive, it has nothing to do"


def test_the_layer_imports_nothing_else_of_the_benchmark():
    for path in (ROOT / "transfer" / "speed").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            for name in modules:
                if name.partition(".")[0] in ("transfer", "backbones"):
                    assert name.startswith(
                        (
                            "transfer.speed",
                            "transfer.operators",
                            "backbones.common",
                            "backbones.runtime",
                        )
                    ), (path, name)


ANCHORS = {"type": "AnchorGenerator", "scales": [4], "ratios": [0.5, 1, 2], "strides": [4, 8]}


def a_config(task, folder, **hook):
    """A plain config of a toolbox on drawn images, with the hook and one import."""
    toolbox, data = {"detection": ("mmdet", BOXES), "segmentation": ("mmseg", MASKS)}[task]
    return Config(
        {
            "default_scope": toolbox,
            "custom_imports": {"imports": ["transfer.speed"]},
            "custom_hooks": [{"type": "Speed", **hook}] if hook else [],
            "model": MODEL_OF[task],
            "train_dataloader": {
                "batch_size": 2,
                "num_workers": 0,
                "sampler": {"type": "DefaultSampler", "shuffle": False},
                "collate_fn": {"type": "pseudo_collate"},
                "dataset": {"type": data},
            },
            "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 2},
            "optim_wrapper": {
                "type": "OptimWrapper",
                "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9},
            },
            "randomness": {"seed": 0},
            "work_dir": str(folder),
            "log_level": "INFO",
        }
    )


BOXES, MASKS = "FourBoxes", "FourMasks"
MODEL_OF = {
    "detection": {
        "type": "FasterRCNN",
        "data_preprocessor": {"type": "DetDataPreprocessor", "pad_size_divisor": 32},
        "backbone": {
            "type": "ResNet",
            "depth": 18,
            "num_stages": 2,
            "strides": (1, 2),
            "dilations": (1, 1),
            "out_indices": (0, 1),
        },
        "neck": {"type": "FPN", "in_channels": [64, 128], "out_channels": 256, "num_outs": 2},
        "rpn_head": {
            "type": "RPNHead",
            "in_channels": 256,
            "feat_channels": 256,
            "anchor_generator": ANCHORS,
            "bbox_coder": {"type": "DeltaXYWHBBoxCoder"},
            "loss_cls": {"type": "CrossEntropyLoss", "use_sigmoid": True},
            "loss_bbox": {"type": "L1Loss"},
        },
        "roi_head": {
            "type": "StandardRoIHead",
            "bbox_roi_extractor": {
                "type": "SingleRoIExtractor",
                "roi_layer": {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0},
                "out_channels": 256,
                "featmap_strides": [4, 8],
            },
            "bbox_head": {
                "type": "Shared2FCBBoxHead",
                "in_channels": 256,
                "fc_out_channels": 32,
                "num_classes": 3,
                "bbox_coder": {"type": "DeltaXYWHBBoxCoder"},
                "loss_cls": {"type": "CrossEntropyLoss"},
                "loss_bbox": {"type": "L1Loss"},
            },
        },
        "train_cfg": {
            "rpn": {
                "assigner": {
                    "type": "MaxIoUAssigner",
                    "pos_iou_thr": 0.7,
                    "neg_iou_thr": 0.3,
                    "min_pos_iou": 0.3,
                },
                "sampler": {
                    "type": "RandomSampler",
                    "num": 32,
                    "pos_fraction": 0.5,
                    "add_gt_as_proposals": False,
                },
                "allowed_border": -1,
                "pos_weight": -1,
            },
            "rpn_proposal": {
                "nms_pre": 200,
                "max_per_img": 50,
                "nms": {"type": "nms", "iou_threshold": 0.7},
            },
            "rcnn": {
                "assigner": {
                    "type": "MaxIoUAssigner",
                    "pos_iou_thr": 0.5,
                    "neg_iou_thr": 0.5,
                    "min_pos_iou": 0.5,
                },
                "sampler": {"type": "RandomSampler", "num": 16, "pos_fraction": 0.25},
                "pos_weight": -1,
            },
        },
        "test_cfg": {"rpn": {}, "rcnn": {}},
    },
    "segmentation": {
        "type": "EncoderDecoder",
        "data_preprocessor": {"type": "SegDataPreProcessor", "size": (64, 64)},
        "backbone": {
            "type": "ResNetV1c",
            "depth": 18,
            "num_stages": 2,
            "strides": (1, 2),
            "dilations": (1, 1),
            "out_indices": (0, 1),
        },
        "decode_head": {
            "type": "FCNHead",
            "in_channels": 128,
            "channels": 32,
            "in_index": 1,
            "num_convs": 1,
            "dropout_ratio": 0,
            "num_classes": 4,
            "norm_cfg": {"type": "BN"},
            "loss_decode": {"type": "CrossEntropyLoss"},
        },
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    },
}


def drawn(number):
    """An image with one bright square, and where it is."""
    image = torch.randint(0, 80, (3, 64, 64), generator=torch.Generator().manual_seed(number))
    left, top, side = 8 + 4 * number, 12 + 3 * number, 24
    image[:, top : top + side, left : left + side] += 150
    return image.to(torch.uint8), (left, top, left + side, top + side), number % 3


def register_data():
    """Data sets of four drawn images for both toolboxes, registered once."""
    from mmdet.structures import DetDataSample
    from mmengine.registry import DATASETS
    from mmengine.structures import InstanceData, PixelData
    from mmseg.structures import SegDataSample

    if BOXES in DATASETS.module_dict:
        return

    class Four(torch.utils.data.Dataset):
        metainfo = {"classes": ("a", "b", "c")}  # noqa: RUF012

        def __len__(self):
            return 4

    class FourBoxes(Four):
        def __getitem__(self, number):
            image, box, label = drawn(number)
            meta = {"img_shape": (64, 64), "ori_shape": (64, 64), "scale_factor": (1.0, 1.0)}
            sample = DetDataSample(metainfo=meta)
            sample.gt_instances = InstanceData(
                bboxes=torch.tensor([box], dtype=torch.float32), labels=torch.tensor([label])
            )
            sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
            return {"inputs": image, "data_samples": sample}

    class FourMasks(Four):
        def __getitem__(self, number):
            image, (left, top, right, bottom), label = drawn(number)
            mask = torch.full((1, 64, 64), 3)
            mask[:, top:bottom, left:right] = label
            sample = SegDataSample(metainfo={"img_shape": (64, 64), "ori_shape": (64, 64)})
            sample.gt_sem_seg = PixelData(data=mask)
            return {"inputs": image, "data_samples": sample}

    DATASETS.register_module(module=FourBoxes)
    DATASETS.register_module(module=FourMasks)


def trained(task, folder, **hook):
    """The weights that the toolbox's own runner and loop leave, and what was logged."""
    register_data()
    runner = Runner.from_cfg(a_config(task, folder, **hook))
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    runner.logger.addHandler(handler)
    runner.train()
    runner.logger.removeHandler(handler)  # runs that start in the same second share their logger
    return {name: value.clone() for name, value in runner.model.state_dict().items()}, records


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_plain_training_with_the_hook_gives_the_toolboxs_own_weights(task, tmp_path):
    plain, silent = trained(task, tmp_path / "plain")
    without, said = trained(task, tmp_path / "without", without=list(PARTS))
    fast, log = trained(task, tmp_path / "fast", without=[])
    assert not [line for line in silent if line.startswith("Speed")]
    assert all("left out" in line for line in said if line.startswith("Speed"))
    active = {line.split()[1] for line in log if re.match(r"Speed: \w+ is active", line)}
    of_task = {
        "detection": {"SparseRoIExtraction", "SparseRpnGradients"},
        "segmentation": {"FusedSegmentationLoss"},
    }
    assert active >= {"KeptMemory", *of_task[task]}
    assert plain.keys() == fast.keys()
    for name, value in plain.items():
        assert torch.equal(without[name], value), name
        torch.testing.assert_close(fast[name], value, rtol=1e-3, atol=1e-5, msg=name)
    assert any(not torch.equal(fast[name], value) for name, value in plain.items())


@pytest.mark.slow
def test_one_import_is_enough_in_a_process_of_its_own():
    program = (
        "import transfer.speed, sys\n"
        "from mmengine.registry import HOOKS\n"
        "assert not {'mmdet.models', 'mmseg.models'} & set(sys.modules)\n"
        "assert HOOKS.get('Speed')\n"
        "import mmdet.models, mmseg.models\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
