"""The protocols for networks of today (`modern`, `modern-quick`) and for fixed ones (`frozen`)."""

import dataclasses
import math

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

import transfer.openmmlab  # noqa: F401
from backbones.common.errors import UserError
from tests.support.composed import cell, composed
from tests.support.protocol_objects import learning_rates, ready_to_train
from tests.support.small_data import load, masks, voc
from transfer.protocols import compose, protocols
from transfer.protocols.overrides import require_settings
from transfer.records.records import compared

NETWORKS = ("resnet18", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto")
PROTOCOLS = [(task, name) for task in protocols.TASKS for name in ("modern", "modern-quick")]
FROZEN = [(task, "frozen") for task in protocols.TASKS]


@pytest.mark.parametrize(("task", "protocol"), [*PROTOCOLS, *FROZEN])
def test_networks_of_every_kind_are_rows_of_one_table(task, protocol, small_sample):
    plain = []
    for architecture in NETWORKS:
        cfg = composed(cell(task, protocol, architecture), small_sample)
        plain.append(compared(compose.resolved(cfg)))
        cfg.model.backbone.weights = None
        with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device("meta"):
            model = MODELS.build(cfg.model)
        fixed = [n for n, p in model.backbone.network.named_parameters() if not p.requires_grad]
        count = len(list(model.backbone.network.parameters()))
        assert len(fixed) == (count if protocol == "frozen" else 0)
        assert all(p.requires_grad for p in model.backbone.parts.parameters())
    assert all(one == plain[0] for one in plain)


@pytest.mark.parametrize(
    ("task", "toolbox", "name"),
    [
        ("detection", "mmdet", "swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py"),
        (
            "segmentation",
            "mmseg",
            "swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py",
        ),
    ],
)
def test_the_optimizer_is_that_of_the_toolboxs_swin(task, toolbox, name, small_sample):
    package = __import__(toolbox)
    theirs = Config.fromfile(f"{package.__path__[0]}/.mim/configs/{name}")
    cfg = composed(cell(task, "modern"), small_sample)
    own = cfg.optim_wrapper
    assert own.optimizer == theirs.optim_wrapper.optimizer
    warm_up, theirs_first = cfg.param_scheduler[0], theirs.param_scheduler[0]
    assert warm_up == theirs_first
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert own.constructor == "LayerDecay"
    if task == "segmentation":
        assert cfg.param_scheduler == theirs.param_scheduler
        assert cfg.train_cfg.max_iters == theirs.train_cfg.max_iters
        sizes = {"channels", "pool_scales", "type", "in_index", "dropout_ratio"}
        for head in ("decode_head", "auxiliary_head"):
            mine, other = cfg.model[head], theirs.model[head]
            assert {k: mine.get(k) for k in sizes} == {k: other.get(k) for k in sizes}


def test_modern_detects_as_openmmlab_does(small_sample):
    modern, plain = (
        compare(composed(cell("detection", name), small_sample)) for name in ("modern", "openmmlab")
    )
    assert {name for name in modern if modern[name] != plain.get(name)} == {
        "optim_wrapper",
        "param_scheduler",
    }


def compare(cfg):
    return compared(compose.resolved(cfg))


@pytest.mark.parametrize("task", protocols.TASKS)
def test_modern_quick_has_the_images_and_the_length_of_quick(task, small_sample):
    modern, plain = (composed(cell(task, name), small_sample) for name in ("modern-quick", "quick"))
    for name in ("train_dataloader", "val_dataloader", "train_cfg", "val_evaluator"):
        assert modern[name] == plain[name]
    assert modern.auto_scale_lr.base_batch_size == modern.train_dataloader.batch_size == 8


@pytest.mark.parametrize("protocol", ["modern-quick", "frozen"])
@pytest.mark.parametrize("task", protocols.TASKS)
def test_the_learning_rate_ends_at_0_and_layers_keep_their_proportions(
    task, protocol, small_sample, tmp_path
):
    cfg = composed(cell(task, protocol, "resnet18"), small_sample)
    cfg.model.backbone.weights = None
    # Several iterations an epoch, for which the learning rate is as stated.
    cfg.auto_scale_lr.base_batch_size = cfg.train_dataloader.batch_size = 2
    runner = ready_to_train(cfg, tmp_path)
    rates = learning_rates(runner)
    full = cfg.optim_wrapper.optimizer.lr
    assert rates[:, 0].max() == pytest.approx(full, rel=0.05)
    assert rates[-1, 0] < 0.1 * full
    shares = rates[:-1] / rates[:-1, :1]  # the last may be 0
    assert shares == pytest.approx(shares[:1].repeat(len(shares), axis=0))
    lowest = 0.9**9 if protocol == "modern-quick" else 1.0  # resnet18: stem, 8 blocks, head
    assert shares.min() == pytest.approx(lowest)


@pytest.mark.parametrize("task", protocols.TASKS)
@pytest.mark.parametrize(
    ("architecture", "scratch"),
    [("resnet18", False), ("resnet18", True), ("test_vit", False), ("convnext_atto", False)],
)
def test_a_frozen_backbone_stays_as_it_is(task, architecture, scratch, small_sample, tmp_path):
    cfg = composed(cell(task, "frozen", architecture, scratch=scratch), small_sample)
    cfg.model.backbone.weights = None
    runner = ready_to_train(cfg, tmp_path)
    model = runner.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    losses = model.train_step(next(iter(runner.train_dataloader)), runner.optim_wrapper)
    assert all(math.isfinite(value) for value in losses.values() if value.numel() == 1)
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in changed if name.startswith("backbone.network.")]
    assert {name.split(".")[0] for name in changed} >= (
        {"neck", "rpn_head", "roi_head"} if task == "detection" else {"decode_head"}
    )
    assert all(p.grad is None for p in model.backbone.network.parameters())
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained <= changed | {n for n in trained if not before[n].any()}


def test_random_weights_are_trained_where_some_stages_are_frozen(small_sample):
    for task in protocols.TASKS:
        for name in set(protocols.names(task)) - {"frozen"}:
            random = composed(cell(task, name, "resnet18", scratch=True), small_sample)
            assert random.model.backbone.get("frozen_stages", -1) == -1
            assert not random.model.backbone.get("norm_eval", False)


@pytest.mark.parametrize(
    ("protocol", "name", "value", "fault"),
    [
        ("modern-quick", "optim_wrapper.paramwise_cfg.layer_decay", 0.8, None),
        ("modern-quick", "optim_wrapper.paramwise_cfg.norm_decay_mult", 0.0, "norm_decay_mult"),
        ("quick", "optim_wrapper.paramwise_cfg.layer_decay", 0.8, "layer_decay"),
    ],
)
@pytest.mark.parametrize("task", protocols.TASKS)
def test_a_suite_sets_the_layer_decay_of_protocols_that_have_one(
    task, protocol, name, value, fault, tmp_path
):
    data = load(voc(tmp_path) if task == "detection" else masks(tmp_path))
    planned = dataclasses.replace(cell(task, protocol, "resnet18"), overrides=((name, value),))
    if fault is None:
        require_settings(planned, data)
    else:
        with pytest.raises(UserError, match=fault):
            require_settings(planned, data)
