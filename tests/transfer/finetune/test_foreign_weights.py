"""Rows whose weights came from elsewhere, from the file that names them to the classifier."""

from pathlib import Path

import pytest
import torch

from backbones.common.errors import UserError
from backbones.common.hashing import sha256
from backbones.weights import weights
from tests.backbones.weights.test_other_names import NETWORK, foreign, reference
from tests.backbones.weights.test_weights import behind, state_of
from transfer.finetune import classifiers, preflight
from transfer.plan.request import Request, make_plan
from transfer.records.cells import Task


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRANSFER_CACHE", str(tmp_path / "cache"))


def planned(saved, more="", backbone="own.toml", given="auto"):
    """The plan of a row of one's own whose weights are these."""
    torch.save(saved, "own.pth")
    Path("own.toml").write_text(f'architecture = "{NETWORK}"\nweights = "own.pth"\n{more}')
    asked = Request(
        backbone=backbone, tasks=("segmentation",), against="none", data="sample",
        data_root=Path(), protocol="auto", weights=given, precision="float32", seed=0,
        classifier_seed=0,
    )  # fmt: skip
    return make_plan(asked)


def tasks(plan):
    return [
        Task(
            cell=cell,
            row=plan.rows[cell.backbone],
            data="sample",
            data_root=Path(),
            results=Path(),
            work_dir=Path("work"),
            command="",
        )
        for cell in plan.cells
        if not cell.scratch
    ]


def looked_at(plan):
    """A preflight of what is there before anything is fine-tuned."""
    preflight.require_sound(tasks(plan))


def test_what_a_training_wraps_around_weights_passes_the_preflight():
    state = state_of(NETWORK)
    looked_at(planned({"epoch": 5, "model_state_dict": state, "optimizer_state_dict": {}}))
    looked_at(planned({"net": behind("module.", state), "acc": 93.2}))
    looked_at(planned({**behind("model.", state), **behind("attacker.model.", state)}))
    with pytest.raises(UserError, match=r"own: .*in 'student' and 'teacher'"):
        looked_at(planned({"student": state, "teacher": {k: v + 1 for k, v in state.items()}}))


@pytest.mark.parametrize("name", ["layer3.0.bn1.running_var", "bn1.weight"])
def test_values_that_are_no_numbers_are_found_before_training(name):
    state = {k: v.clone() for k, v in state_of(NETWORK).items()}
    state[name][3] = float("nan")
    with pytest.raises(UserError, match=f"own: .*{name} has 1 value of"):
        looked_at(planned(state))


def test_a_renamed_row_is_said_checked_and_recorded():
    torch.save(reference(), "logits.pth")
    plan = planned(foreign(state_of(NETWORK)), 'rename = "by shape"\nreference = "logits.pth"')
    assert any("by order and shape; the logits in" in remark for remark in plan.remarks)
    looked_at(plan)
    (task,) = tasks(plan)
    ready = classifiers.prepare(task.cell, task.row)
    found = weights.read(Path(ready.path), NETWORK).tensors
    assert all(torch.equal(found[k], v) for k, v in state_of(NETWORK).items() if "num_" not in k)
    assert ready.provenance["sha256"] == sha256(Path("own.pth"))
    assert ready.provenance["renamed"] == "by shape"
    plain = planned(state_of(NETWORK))
    assert "renamed" not in classifiers.prepare(tasks(plain)[0].cell, task.row).provenance


def test_without_the_choice_other_names_are_refused_and_with_another_it_is_another_cell():
    other = foreign(state_of(NETWORK))
    with pytest.raises(UserError, match='write rename = "by shape"'):
        looked_at(planned(other))
    ids = set()
    table = "\n".join(f'"{a}" = "{b}"' for a, b in zip(other, state_of(NETWORK), strict=True))
    for more in ("", 'rename = "by shape"', f"[rename]\n{table}"):
        plan = planned(other, more)
        ids.add(plan.cells[0].id)
        if more:
            looked_at(plan)
    assert len(ids) == 3
    with pytest.raises(UserError, match="no name in the weights"):
        looked_at(planned(other, '[rename]\n"nothing" = "conv1"'))


def test_a_renamed_row_can_be_shuffled():
    plan = planned(foreign(state_of(NETWORK)), 'rename = "by shape"', "own.toml_shuffled")
    (task,) = [task for task in tasks(plan) if task.cell.backbone == "own_shuffled"]
    looked_at(plan)
    ready = classifiers.prepare(task.cell, task.row)
    found = weights.read(Path(ready.path), NETWORK).tensors["conv1.0.weight"]
    assert not torch.equal(found, state_of(NETWORK)["conv1.0.weight"])
    assert torch.equal(found.flatten().sort().values,
                       state_of(NETWORK)["conv1.0.weight"].flatten().sort().values)  # fmt: skip
