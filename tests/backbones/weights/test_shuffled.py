"""The negative control: a classifier's own weights, each layer's values in another order."""

import dataclasses
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from backbones.common.errors import UserError
from backbones.common.hashing import sha256
from backbones.weights.shuffled import shuffled
from backbones.zoo import zoo
from transfer.finetune import classifiers
from transfer.plan.request import Request, make_plan

ARCHITECTURE = "resnet18"


@pytest.fixture
def classifier(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFER_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    path = tmp_path / "mine.safetensors"
    save_file(timm.create_model(ARCHITECTURE).state_dict(), path)
    return path


def test_each_layer_keeps_its_values_and_loses_their_order(classifier):
    before, after = load_file(classifier), load_file(shuffled(classifier, ARCHITECTURE))
    assert before.keys() == after.keys()
    for name, values in before.items():
        assert after[name].shape == values.shape
        assert torch.equal(after[name].flatten().sort().values, values.flatten().sort().values)
        if len(values.unique()) > 2:
            assert not torch.equal(after[name], values), name


def test_a_tensor_of_no_part_that_claims_terabytes_costs_no_memory(classifier, tmp_path):
    claims = {name: torch.zeros(1).expand(1 << 42) for name in ("neck.weight", "fc.weight")}
    path = tmp_path / "claims.pth"
    torch.save({**load_file(classifier), **claims}, path)
    assert "layer1.0.conv1.weight" in load_file(shuffled(path, ARCHITECTURE))


def test_the_order_is_the_same_each_time_and_another_for_each_layer(classifier):
    one, other = "layer1.0.conv1.weight", "layer1.0.conv2.weight"
    state = load_file(classifier)
    save_file(state | {other: state[one].clone()}, classifier)
    first = shuffled(classifier, ARCHITECTURE)
    after = load_file(first)
    assert not torch.equal(after[one], after[other])
    digest = sha256(first)
    first.unlink()
    assert sha256(shuffled(classifier, ARCHITECTURE)) == digest


def test_a_shuffled_row_is_a_row_of_its_own_judged_against_the_same_control(classifier):
    row = zoo.find("resnet18d_tricks_shuffled")
    assert (row.shuffled_of, row.architecture) == ("resnet18d_tricks", "resnet18d")
    assert row.control == "resnet18_baseline"
    assert zoo.find("resnet18_baseline_shuffled").control == "resnet18_baseline"
    for name in ("resnet18_scratch_shuffled", "resnet18_baseline_shuffled_shuffled"):
        with pytest.raises(UserError, match="no weights of its own"):
            zoo.find(name)


def test_a_row_of_ones_own_is_shuffled_and_compared_with_itself(classifier, tmp_path):
    own = tmp_path / "mine.toml"
    own.write_text(f'architecture = "{ARCHITECTURE}"\nweights = "{classifier}"\n')
    plan = make_plan(
        Request(
            backbone=f"{own}_shuffled",
            tasks=("detection",),
            against="auto",
            data="sample",
            data_root=Path(),
            protocol="auto",
            weights="auto",
            precision="float32",
            seed=0,
            classifier_seed=0,
        )
    )
    weights = {cell.backbone: cell.weights for cell in plan.cells}
    assert plan.baseline == "mine"
    assert weights["mine_shuffled"] == f"shuffled:{weights['mine']}"
    assert weights["mine"] == str(classifier)


def test_its_cell_is_another_than_that_of_the_weights_themselves(classifier):
    asked = Request(
        backbone="resnet18_baseline_shuffled",
        tasks=("detection",),
        against="auto",
        data="sample",
        data_root=Path(),
        protocol="auto",
        weights=str(classifier),
        precision="float32",
        seed=0,
        classifier_seed=0,
    )
    plan = make_plan(asked)
    cell = next(c for c in plan.cells if c.backbone == asked.backbone)
    plain = make_plan(dataclasses.replace(asked, backbone="resnet18_baseline")).cells[0]
    assert cell.id != plain.id
    assert plan.baseline == "resnet18_baseline"
    ready = classifiers.prepare(cell, plan.rows[cell.backbone])
    assert Path(ready.path) == shuffled(classifier, ARCHITECTURE)
    assert ready.provenance["tricks"] == []
    assert ready.provenance["top1"] is None
    own = classifiers.prepare(plain, zoo.find("resnet18_baseline"))
    assert (ready.mean, ready.std) == (own.mean, own.std)
