"""Checkpoints in a work folder that hold what none of a training's does."""

import math

import pytest
import torch

from backbones.common.errors import UserError
from backbones.runtime import checkpoint, state_files
from tests.transfer.finetune.test_faults import STEPS, runner_of


def changed(folder, change):
    path = folder / "state" / state_files.LATEST
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


ODD = [-1, 2.5, True, None, "3", math.nan, [3], torch.tensor(3), 10**30, 10**5000, -(10**5000)]


@pytest.mark.parametrize("iteration", ODD, ids=lambda odd: type(odd).__name__)
def test_an_odd_iteration_is_passed_over(tmp_path, iteration):
    """The one before it, or a training from the start, takes its place."""
    for number in (1, 2):
        checkpoint.save_checkpoint(tmp_path, {"identity": "a", "iteration": number})
    assert checkpoint.load_state(tmp_path, "a")["iteration"] == 2
    torch.save({"identity": "a", "iteration": iteration}, tmp_path / state_files.LATEST)
    assert checkpoint.load_state(tmp_path, "a")["iteration"] == 1


@pytest.mark.parametrize("layout", ["repeated", "sparse", "meta"])
def test_a_checkpoint_that_claims_more_values_than_it_stores_is_passed_over(tmp_path, layout):
    """A copy of it would need terabytes."""
    large = {
        "repeated": torch.zeros(1, dtype=torch.float64).expand(10**6, 10**6),
        "sparse": torch.sparse_coo_tensor(torch.zeros(2, 1).long(), torch.ones(1), (10**6, 10**6)),
        "meta": torch.empty(10**12, device="meta"),
    }[layout]
    state = {"identity": "a", "iteration": 1, "optimizer": {"state": {0: {}}}, "hooks": {}}
    torch.save(state, tmp_path / state_files.PREVIOUS)
    state["optimizer"]["state"][0]["momentum_buffer"] = [large]
    torch.save({**state, "iteration": 2}, tmp_path / state_files.LATEST)
    assert checkpoint.load_state(tmp_path, "a")["iteration"] == 1


def test_views_of_a_checkpoint_and_one_that_contains_itself_are_read(tmp_path):
    weights = torch.arange(6.0)
    state = {"identity": "a", "iteration": 2, "model": {"a": weights, "b": weights.view(2, 3).T}}
    state["hooks"] = {"all": state}
    torch.save(state, tmp_path / state_files.LATEST)
    assert checkpoint.load_state(tmp_path, "a")["iteration"] == 2


def beyond(state):
    state["iteration"] = STEPS + 1


def other_schedule(state):
    state["schedulers"][0]["last_step"] = "x"


def more_attributes(state):
    state["schedulers"][0]["step"] = 3


@pytest.mark.parametrize("change", [beyond, other_schedule, more_attributes])
def test_a_checkpoint_that_is_none_of_this_training_is_refused(tmp_path, change):
    runner_of(tmp_path).train()
    changed(tmp_path, change)
    with pytest.raises(UserError, match="does not belong to this training"):
        runner_of(tmp_path).train()
