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


@pytest.mark.parametrize("iteration", [-1, 2.5, True, None, "3", math.nan, [3], torch.tensor(3)])
def test_an_odd_iteration_is_passed_over(tmp_path, iteration):
    """The one before it, or a training from the start, takes its place."""
    for number in (1, 2):
        checkpoint.save_checkpoint(tmp_path, {"identity": "a", "iteration": number})
    assert checkpoint.load_state(tmp_path, "a")["iteration"] == 2
    torch.save({"identity": "a", "iteration": iteration}, tmp_path / state_files.LATEST)
    assert checkpoint.load_state(tmp_path, "a")["iteration"] == 1


def beyond(state):
    state["iteration"] = STEPS + 1


def huge(state):
    state["iteration"] = 10**30


def other_schedule(state):
    state["schedulers"][0]["last_step"] = "x"


def more_attributes(state):
    state["schedulers"][0]["step"] = 3


@pytest.mark.parametrize("change", [beyond, huge, other_schedule, more_attributes])
def test_a_checkpoint_that_is_none_of_this_training_is_refused(tmp_path, change):
    runner_of(tmp_path).train()
    changed(tmp_path, change)
    with pytest.raises(UserError, match="does not belong to this training"):
        runner_of(tmp_path).train()
