"""What is wrong with a run is found before its first cell is begun."""

import dataclasses

import pytest
import timm
import torch

from backbones.common.errors import UserError
from backbones.zoo import zoo
from tests.support import chaos_suite, synthetic
from tests.support import drawn_data as draw
from tests.support.composed import cell
from transfer import run
from transfer.cli import main
from transfer.datasets import catalogue
from transfer.finetune.preflight import require_sound
from transfer.protocols.overrides import require_settings
from transfer.records.cells import Task

KEYS = "optim_wrapper.paramwise_cfg.custom_keys"
TRAINED = "train_dataloader.dataset.dataset.datasets.0"


@pytest.fixture
def here(tmp_path, monkeypatch, small_sample, checks_here):
    monkeypatch.chdir(tmp_path)
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "r18.pth")
    own("plain", 'architecture = "resnet18"\nweights = "r18.pth"')
    return tmp_path


def own(name, text):
    with open(f"{name}.toml", "w", encoding="utf-8") as file:
        file.write(text)


def refused(capsys, *command):
    assert run.main(list(command)) == 2
    return [
        line for line in capsys.readouterr().err.splitlines() if "error" in line or ": " in line
    ]


def begun(here):
    return [p for folder in ("work_dirs", "results") for p in (here / folder).rglob("*")]


def test_weights_of_another_network_are_reported_before_the_control_is_paid_for(here, capsys):
    own("wrong", 'architecture = "resnet18d"\nweights = "r18.pth"\ncontrol = "plain.toml"')
    (message,) = refused(capsys, "--backbone", "wrong.toml", "--data", "sample")
    assert message.startswith("error: wrong: The weights 'r18.pth' are not those of 'resnet18d'")
    assert begun(here) == []


def test_a_suite_names_all_that_do_not_fit_and_begins_nothing(here, small_sample, capfd):
    own("wrong", 'architecture = "resnet18d"\nweights = "r18.pth"')
    own("unknown", 'architecture = "resnet18x"\nweights = "r18.pth"')
    suite = chaos_suite.write_suite(
        here, small_sample, rows=["plain.toml", "wrong.toml", "unknown.toml"], seeds=[0, 1]
    )
    suite.write_text(suite.read_text().replace("max_epochs", "max_epoch"))
    assert run.main(["--suite", "suite.toml"]) == 2
    printed = capfd.readouterr().err
    assert "timm has no network 'resnet18x'; similar names are resnet18" in printed
    assert "wrong: The weights 'r18.pth' are not those of 'resnet18d'" in printed
    assert "'train_cfg' has no 'max_epoch'; did you mean max_epochs" in printed
    assert "plain" not in printed
    assert begun(here) == []


def test_a_mistyped_network_is_one_sentence(here, capsys):
    own("mine", 'architecture = "resnet50x"\nweights = "r18.pth"')
    (message,) = refused(capsys, "--backbone", "mine.toml", "--data", "sample")
    assert message.startswith("error: timm has no network 'resnet50x'; similar names are resnet50")
    assert main.main(["backbones", "mine.toml"]) == 2
    assert "no network 'resnet50x'" in capsys.readouterr().err


def test_networks_that_a_protocol_cannot_build_are_reported_before_the_control_is_paid_for(
    here, small_sample, capfd
):
    """Neither positions of a fixed grid nor strides without 4 serve a pyramid."""
    for name in ("levit_128s", "hiera_tiny_224"):
        own(name, f'architecture = "{name}"\nweights = "random"')
    suite = chaos_suite.write_suite(
        here,
        small_sample,
        rows=["plain.toml", "levit_128s.toml", "hiera_tiny_224.toml"],
        seeds=[0],
    )
    assert run.main(["--suite", str(suite)]) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if "'" in line]
    assert len(errors) == 2
    assert "'levit_128s' has feature maps at strides [16, 32, 64]" in errors[0]
    assert "'hiera_tiny_224' takes only images of 224 x 224 pixels" in errors[1]
    assert begun(here) == []


def judge(task, protocol, small_sample, *overrides):
    cell = synthetic.cell("resnet18_baseline", task, protocol=protocol, overrides=overrides)
    data = catalogue.load("sample", small_sample.parent)
    require_settings(dataclasses.replace(cell, data="sample"), data)


@pytest.mark.parametrize(
    ("task", "values", "message"),
    [
        (
            "detection",
            {"model.roi_head.bbox_head.fc_out_channels": 1 << 17},
            r"bbox_head\.fc_out_channels give .* 1\d,\d{3},\d{3},\d{3} weights, more than",
        ),
        (
            "segmentation",
            {"model.decode_head.channels": 1 << 17, "model.decode_head.num_convs": 2},
            r"more than the 2,147,483,648",
        ),
        ("segmentation", {"model.decode_head.channels": -5}, r"cannot be built .*head\.channels"),
        ("detection", {"model.neck.num_outs": 1}, r"cannot be built .*neck\.num_outs"),
    ],
)
def test_a_network_that_overrides_make_too_large_or_impossible_is_refused_before_it_is_built(
    task, values, message, small_sample
):
    with pytest.raises(UserError, match=message):
        judge(task, "quick", small_sample, *values.items())


def test_a_wider_head_is_allowed(small_sample):
    judge("detection", "quick", small_sample, ("model.roi_head.bbox_head.fc_out_channels", 2048))
    judge("segmentation", "quick", small_sample, ("model.decode_head.channels", 256))


@pytest.mark.parametrize(
    ("task", "name", "value", "message"),
    [
        ("detection", "train_cfg.max_epoch", 1, "has no 'max_epoch'; did you mean max_epochs"),
        ("segmentation", "optim_wrapper.optimizer.l", 9, "has no 'l'; did you mean lr"),
        ("detection", "trian_cfg.max_epochs", 1, "its config has no 'trian_cfg'; did you mean tra"),
        ("detection", "model.backbone.norm_evals", True, "did you mean norm_eval"),
        ("detection", "train_dataloader.num_worker", 1, "did you mean num_workers"),
        ("detection", "param_scheduler.7.end", 1, "'param_scheduler' has no '7'"),
        ("detection", "train_cfg.max_epochs.more", 1, "'train_cfg.max_epochs' has no 'more'"),
        ("segmentation", "model.decode_head.dropout", 0, "did you mean dropout_ratio"),
        ("segmentation", "optim_wrapper.paramwise_cfg.norm_decay", 0, "norm_decay_mult"),
        ("segmentation", f"{KEYS}.backbone.lr_mlt", 2, "did you mean lr_mult"),
        ("segmentation", f"{KEYS}.blocks.lr_mlt", 2, "did you mean lr_mult"),
        ("segmentation", f"{KEYS}.blocks", 2, "blocks.lr_mult or"),
        ("detection", "model.backbone", 5, "such as model.backbone.type or"),
        ("detection", f"{TRAINED}.pipeline", (1, 2), f"such as {TRAINED}.pipeline.0"),
        ("segmentation", "param_scheduler", False, "would replace"),
    ],
)
def test_what_an_override_would_not_set_is_named_with_the_nearest(
    task, name, value, message, small_sample
):
    protocol = "paper" if name.startswith("optim_wrapper.paramwise_cfg") else "quick"
    with pytest.raises(UserError) as error:
        judge(task, protocol, small_sample, (name, value))
    assert f"'{name}' " in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("task", "name", "value", "message"),
    [
        ("detection", "test_dataloader.dataset.indices", 5, "set val_dataloader instead"),
        ("detection", "test_evaluator.form", "area", "set val_evaluator instead"),
        ("segmentation", "test_cfg.fp16", True, "set val_cfg instead"),
        ("detection", "train_pipeline.2.scale", (9, 9), "the pipelines in train_dataloader"),
        ("segmentation", "crop_size", (9, 9), "no run reads 'crop_size'"),
        ("detection", "default_hooks.logger.interval", 5, "no run reads 'default_hooks'"),
        ("detection", "resume", True, "no run reads 'resume'"),
    ],
)
def test_settings_that_no_run_reads_are_refused(task, name, value, message, small_sample):
    with pytest.raises(UserError) as error:
        judge(task, "quick", small_sample, (name, value))
    assert f"'{name}' sets nothing" in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("task", "name", "value", "message"),
    [
        ("detection", "randomness.seed", 7, "set the suite's 'seeds'"),
        ("detection", "model.backbone.architecture", "resnet50", "use another row"),
        ("detection", "model.backbone.weights", None, "set the row's 'classifiers'"),
        ("detection", "model.roi_head.shared_head.architecture", "resnet50", "use another row"),
        ("detection", "model.neck.in_channels", (8, 8, 8, 8), "use another row"),
        ("detection", "model.data_preprocessor.bgr_to_rgb", False, "use another row"),
        ("segmentation", "model.data_preprocessor.mean", (0, 0, 0), "use another row"),
        ("segmentation", "model.data_preprocessor.std.0", 1, "use another row"),
        ("detection", "model.roi_head.bbox_head.num_classes", 3, "use another data set"),
        ("segmentation", "model.auxiliary_head.num_classes", 3, "use another data set"),
        ("detection", "val_dataloader.dataset.indices", 5, "use another data set"),
        ("segmentation", "val_dataloader.dataset.ann_file", 5, "use another data set"),
        ("segmentation", "val_evaluator.headline_classes", (), "use another data set"),
        ("detection", "optim_wrapper.type", "AmpOptimWrapper", "--precision"),
        ("segmentation", "val_cfg.fp16", True, "--precision"),
    ],
)
def test_what_belongs_to_the_run_its_row_or_its_data_is_refused(
    task, name, value, message, small_sample
):
    with pytest.raises(UserError) as error:
        judge(task, "quick", small_sample, (name, value))
    assert f"'{name}' is not a setting of a protocol" in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("task", "name", "value", "message"),
    [
        ("detection", "optim_wrapper.optimizer.lr", -1, "set 0 or more"),
        ("detection", "optim_wrapper.optimizer.betas", (-0.5, 0.9), "set 0 or more"),
        ("segmentation", "optim_wrapper.paramwise_cfg.bias_lr_mult", -1, "set 0 or more"),
        ("segmentation", "auto_scale_lr.base_batch_size", -4, "set 0 or more"),
        ("detection", "optim_wrapper.optimizer.nesterov", True, "Nesterov"),
        ("segmentation", "optim_wrapper.accumulative_counts", 0, "accumulative_counts"),
        ("segmentation", "optim_wrapper.clip_grad.clip_value", 5, "cannot be built"),
        ("detection", "train_dataloader.batch_size", 0, "batch_size"),
        ("detection", "train_dataloader.drop_last", True, "mutually exclusive"),
        ("detection", "val_dataloader.num_workers", -1, "num_workers"),
        ("segmentation", "train_dataloader.prefetch_factor", 2, "prefetch_factor"),
    ],
)
def test_what_optimizer_and_loaders_would_refuse_is_refused_before(
    task, name, value, message, small_sample
):
    extra = [("optim_wrapper.optimizer.momentum", 0)] if name.endswith("nesterov") else []
    with pytest.raises(UserError) as error:
        judge(task, "quick", small_sample, (name, value), *extra)
    assert f"{name}" in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "setting", [f'"{TRAINED}.pipeline.99.type" = "SGD"', '"model.backbone" = 5']
)
def test_a_dry_run_refuses_overrides_that_cannot_be_merged(here, small_sample, capfd, setting):
    suite = chaos_suite.write_suite(
        here, small_sample, rows=["timm/test_resnet_scratch"], seeds=[0]
    )
    suite.write_text(f"{suite.read_text()}\n{setting}\n", encoding="utf-8")
    assert run.main(["--suite", str(suite), "--dry-run"]) == 2
    assert "The override '" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("task", "protocol", "overrides"),
    [
        ("detection", "quick", {"train_cfg.max_epochs": 1, "optim_wrapper.optimizer.lr": 0.1}),
        ("detection", "quick", {"without": ("KeptMemory",), "train_dataloader.batch_size": 4}),
        # Keys that the config does not have, of parameters that the classes have.
        ("segmentation", "quick", {"model.backbone.norm_eval": True}),
        ("segmentation", "quick", {"model.decode_head.loss_decode.avg_non_ignore": False}),
        ("detection", "quick", {"optim_wrapper.optimizer.nesterov": True}),
        ("detection", "quick", {"optim_wrapper.clip_grad.max_norm": 35}),
        ("detection", "quick", {"optim_wrapper.paramwise_cfg.norm_decay_mult": 0}),
        (
            "detection",
            "quick",
            {"train_dataloader.prefetch_factor": 4, "train_dataloader.num_workers": 1},
        ),
        ("detection", "quick", {f"{TRAINED}.indices": 100}),
        ("detection", "quick", {"val_dataloader.dataset.pipeline.1.scale": (320, 240)}),
        ("detection", "quick", {"val_evaluator.form": "coco"}),
        ("segmentation", "quick", {"optim_wrapper.accumulative_counts": 2}),
        ("detection", "paper", {"param_scheduler.0.gamma": 0.5}),
        ("detection", "paper", {"train_dataloader.dataset.dataset.datasets.0.pipeline.2.scale": 9}),
        ("segmentation", "paper", {f"{KEYS}.backbone.lr_mult": 2}),
        ("segmentation", "paper", {f"{KEYS}.decode_head.decay_mult": 0}),
        ("segmentation", "quick", {f"{KEYS}.layer4.lr_mult": 0}),
        ("detection", "quick", {"custom_hooks": ()}),
    ],
)
def test_what_the_config_or_its_classes_have_may_be_set(task, protocol, overrides, small_sample):
    judge(task, protocol, small_sample, *overrides.items())


def test_data_that_cannot_be_used_is_reported_before_anything_is_begun(here, capsys):
    data = draw.draw_masks(here / "data", [0, 255])
    draw.load(data, draw.masks_toml())
    command = ["--backbone", "resnet18_scratch", "--against", "none", "--task", "segmentation"]
    message = "\n".join(refused(capsys, *command, "--data", str(data / "own.toml")))
    assert "training pixels of only 'ground'" in message
    assert begun(here) == []


def test_what_is_worth_knowing_of_data_is_returned_once(here):
    data = draw.draw_masks(here / "data")
    draw.load(data, draw.masks_toml(classes=("ground", "part", "hook")))
    cells = [cell("segmentation", seed=seed) for seed in (0, 1)]
    tasks = [
        Task(
            cell=one,
            row=zoo.find("resnet18_scratch"),
            data=str(data / "own.toml"),
            data_root=here,
            results=here,
            work_dir=here,
            command="",
        )
        for one in (dataclasses.replace(one, scratch=True) for one in cells)
    ]
    notes = require_sound(tasks)
    assert len(notes) == 2
    assert all("'hook'" in note for note in notes)
    assert require_sound(tasks, data_is_here=False) == []
