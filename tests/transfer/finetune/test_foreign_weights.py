"""Rows whose weights came from elsewhere, from the file that names them to the classifier."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from backbones.common.errors import UserError
from backbones.common.hashing import sha256
from backbones.training import augmentation
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


def planned(saved, more="", backbone="own.toml", given="auto", weights="own.pth"):
    """The plan of a row of one's own whose weights are these."""
    torch.save(saved, "own.pth")
    Path("own.toml").write_text(f'architecture = "{NETWORK}"\nweights = "{weights}"\n{more}')
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


def notes(plan):
    """What a preflight says of the weights; the sample has no remarks."""
    return preflight.require_sound(tasks(plan))


@pytest.mark.parametrize("more", ["", '[rename]\nbn1 = "bn1"'])
def test_parts_of_the_weights_that_are_not_used_are_named(more):
    extra = {"decoder.weight": torch.ones(1), "decoder.bias": torch.ones(1)}
    (note,) = notes(planned(state_of(NETWORK) | extra, more))
    assert note == f"own: '{NETWORK}' has no place for 'decoder' (2) in 'own.pth': not used."
    assert notes(planned(state_of(NETWORK), more)) == []


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


def trained_row(more, **own):
    """The plan of a row of one's own whose weights have this project's metadata."""
    save_file(state_of(NETWORK), "own.safetensors", {"transfer_bench": json.dumps(own)})
    return planned(state_of(NETWORK), more, weights="own.safetensors")


@pytest.mark.parametrize("of_row", ["mean = [0.5, 0.5, 0.5]", "std = [0.5, 0.5, 0.5]"])
def test_a_row_that_contradicts_the_preprocessing_in_its_weights_is_refused(of_row):
    plan = trained_row(of_row, mean=[1, 2, 3], std=[4, 5, 6])
    key = of_row.split()[0]
    with pytest.raises(UserError, match=rf"own: 'own' states the {key} \[0.5, .*Remove '{key}'"):
        looked_at(plan)
    with pytest.raises(UserError, match=f"states the {key}"):
        classifiers.prepare(tasks(plan)[0].cell, tasks(plan)[0].row)


def test_of_two_rows_with_one_file_each_is_compared_with_it():
    agreeing = trained_row("mean = [0.1, 0.1, 0.1]", mean=[25.5] * 3, std=[51] * 3)
    looked_at(agreeing)
    other = trained_row("mean = [0.5, 0.5, 0.5]", mean=[25.5] * 3, std=[51] * 3)
    with pytest.raises(UserError, match="states the mean"):
        preflight.require_sound([*tasks(other), *tasks(agreeing)])


def test_the_usual_mean_of_imagenet_agrees_with_that_of_this_projects_training():
    row = "mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]"
    (task,) = tasks(trained_row(row, mean=list(augmentation.MEAN), std=list(augmentation.STD)))
    ready = classifiers.prepare(task.cell, task.row)
    assert (ready.mean, ready.std) == (augmentation.MEAN, augmentation.STD)


def test_the_preprocessing_that_only_the_file_or_only_the_row_states_is_used():
    (task,) = tasks(trained_row("std = [0.2, 0.2, 0.2]", mean=[1, 2, 3]))
    ready = classifiers.prepare(task.cell, task.row)
    assert ready.mean == (1, 2, 3)
    assert ready.std == pytest.approx((51, 51, 51))


@pytest.mark.parametrize(
    ("of_row", "of_file", "expected"),
    [
        ('top1 = 71.5\ntop1_on = "Birds"', {}, (71.5, "Birds")),
        ('top1 = 71.5\ntop1_on = "Birds"', {"metrics": {"top1": 60.0}}, (71.5, "Birds")),
        ("", {"metrics": {"top1": 60.0}, "data": {"name": "cats"}}, (60.0, "cats")),
        ("", {}, (None, "")),
    ],
)
def test_the_top1_that_a_row_states_is_recorded(of_row, of_file, expected):
    (task,) = tasks(trained_row(of_row, mean=[1, 2, 3], std=[4, 5, 6], **of_file))
    found = classifiers.prepare(task.cell, task.row).provenance
    assert (found["top1"], found["top1_on"]) == expected
