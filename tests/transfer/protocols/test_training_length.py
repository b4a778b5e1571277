"""A training's length as one number, and the schedule that follows it."""

import math

import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS

from backbones.common.errors import UserError
from tests.support import small_data, synthetic
from transfer import openmmlab  # noqa: F401
from transfer.protocols import compose
from transfer.protocols.overrides import require_settings


def composed(data, task, protocol, **overrides):
    cell = synthetic.cell(
        "resnet18_scratch", task, protocol=protocol, overrides=tuple(overrides.items())
    )
    cfg = compose.compose(cell, data, weights="", mean=(0.0,) * 3, std=(1.0,) * 3)
    return cell, cfg


@pytest.fixture
def data(tmp_path):
    return {
        "detection": small_data.load(small_data.voc(tmp_path / "boxes")),
        "segmentation": small_data.load(small_data.masks(tmp_path / "masks")),
    }


@pytest.mark.parametrize(
    ("task", "protocol", "epochs", "schedule"),
    [
        ("detection", "quick", 4, [(0, 1, None, None), (1, 4, 3, None)]),
        ("detection", "quick", 16, [(0, 2, None, None), (2, 16, 14, None)]),
        ("detection", "quick", 1, [(0, 1 / 8, None, None), (1 / 8, 1, 7 / 8, None)]),
        ("detection", "paper", 10, [(0, 10, None, [7])]),
        ("detection", "paper", 8, [(0, 8, None, [6])]),
        ("detection", "openmmlab", 8, [(0, 8, None, [6])]),
        ("detection", "openmmlab-coco", 6, [(0, 500, None, None), (0, 6, None, [4, 6 - 1])]),
        ("segmentation", "quick", 3, [(0, 3, None, None)]),
        ("segmentation", "paper", 60, [(0, 60, None, None)]),
        ("segmentation", "openmmlab", 8, [(0, 8, None, None)]),  # 6 images, batches of 16
    ],
)
def test_the_schedule_moves_with_the_length(data, task, protocol, epochs, schedule):
    cell, cfg = composed(data[task], task, protocol, epochs=epochs)
    require_settings(cell, data[task])
    assert epochs in (cfg.train_cfg.get("max_epochs"), cfg.train_cfg.get("max_iters"))
    found = [
        (s.get("begin", 0), s["end"], s.get("T_max"), s.get("milestones"))
        for s in cfg.param_scheduler
    ]
    assert found == schedule


def test_epochs_are_iterations_where_the_protocol_counts_those(tmp_path):
    data = small_data.load(small_data.masks(tmp_path, images=(33, 1)))
    _, cfg = composed(data, "segmentation", "openmmlab", epochs=5)
    assert cfg.train_cfg.max_iters == 5 * math.ceil(33 / 16)
    assert cfg.param_scheduler[0]["end"] == cfg.train_cfg.max_iters


def test_the_protocols_own_length_changes_nothing_but_the_identity(data):
    for task, length in (("detection", 8), ("segmentation", 6)):
        own_cell, own = composed(data[task], task, "quick")
        cell, cfg = composed(data[task], task, "quick", epochs=length)
        assert compose.resolved(cfg) == compose.resolved(own)
        assert cell.id != own_cell.id


def test_what_the_published_suite_sets_by_hand_is_what_epochs_sets(data):
    by_hand = {
        "detection": (
            4,
            {"train_cfg.max_epochs": 4, "param_scheduler.1.end": 4, "param_scheduler.1.T_max": 3},
        ),
        "segmentation": (3, {"train_cfg.max_epochs": 3, "param_scheduler.0.end": 3}),
    }
    for task, (epochs, settings) in by_hand.items():
        _, cfg = composed(data[task], task, "quick", epochs=epochs)
        _, other = composed(data[task], task, "quick", **settings)
        assert compose.resolved(cfg) == compose.resolved(other)


def test_the_rate_falls_to_the_end_of_the_shorter_training(data):
    """MMEngine's own scheduler, stepped: the last epoch's rate is the least."""
    _, cfg = composed(data["detection"], "detection", "quick", epochs=5)
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    config = {**cfg.param_scheduler[1], "optimizer": optimizer}
    config.pop("convert_to_iter_based", None)
    scheduler = PARAM_SCHEDULERS.build(config)
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 1.0
    assert rates[-1] < 0.5
    assert optimizer.param_groups[0]["lr"] < 0.2


def test_the_rate_rises_and_falls_within_a_single_epoch(data):
    """MMEngine's own schedulers, stepped by iteration: an eighth of 80 steps is the warm-up."""
    cell, cfg = composed(data["detection"], "detection", "quick", epochs=1)
    require_settings(cell, data["detection"])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedulers = [
        PARAM_SCHEDULERS.build({**config, "optimizer": optimizer, "epoch_length": 80})
        for config in cfg.param_scheduler
    ]
    rates = []
    for _ in range(80):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] == pytest.approx(0.1)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.01


@pytest.mark.parametrize(
    ("task", "protocol", "overrides", "fact"),
    [
        ("detection", "openmmlab", {"epochs": 1}, "milestones at 0"),
        ("detection", "openmmlab-coco", {"epochs": 2}, "milestones"),
        ("detection", "quick", {"train_cfg.max_epochs": 0}, "0 epochs"),
        ("detection", "quick", {"param_scheduler.1.begin": 9}, "begins at 9 and ends at 8"),
        ("detection", "quick", {"param_scheduler.1.T_max": 0}, "T_max = 0"),
        ("detection", "paper", {"param_scheduler.0.milestones": (14, 9)}, "14, 9"),
        ("detection", "quick", {"param_scheduler.0.start_factor": 5.0}, "param_scheduler.0"),
        ("segmentation", "openmmlab", {"train_cfg.max_iters": -5}, "-5 iters"),
    ],
)
def test_an_impossible_schedule_is_refused(data, task, protocol, overrides, fact):
    cell, _ = composed(data[task], task, protocol, **overrides)
    with pytest.raises(UserError) as error:
        require_settings(cell, data[task])
    assert fact in str(error.value)
