"""On the sample: public weights first where the hub answers, else classifiers of its own."""

import pytest

from backbones.common.errors import UserError
from backbones.weights import hub_status
from backbones.zoo import zoo
from tests.support import synthetic
from transfer.plan.request import make_plan
from transfer.plan.sample_classifiers import PUBLIC, SAMPLE_TRAINING, TRAINED, choose, is_trained


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFER_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def answering(monkeypatch):
    """A hub that has everything."""
    monkeypatch.setattr(hub_status, "answers", lambda source: True)


def asked(folder, **changed):
    return synthetic.request("resnet50d_tricks", folder, against="auto", **changed)


def weights(plan):
    return [cell.weights for cell in plan.cells]


def test_public_weights_come_first_and_their_size_is_reported(cache, answering):
    plan = make_plan(asked(cache))
    assert weights(plan) == ["timm:resnet50.tv_in1k", "timm:resnet50d.gluon_in1k"]
    text = " ".join(plan.remarks)
    assert "204" in text, "megabytes of both"
    assert "--weights sample" in text


@pytest.mark.parametrize(
    "changed", [{"weights": "sample"}, {"classifier_seed": 1}, {"backbone": "resnet50d_cosine"}]
)
def test_all_rows_are_trained_where_not_all_are_to_be_had_or_it_is_asked_for(
    changed, cache, answering
):
    row = changed.pop("backbone", "resnet50d_tricks")
    plan = make_plan(synthetic.request(row, cache, against="auto", **changed))
    assert all(one.startswith("sample:") for one in weights(plan))
    assert "cosine decay in every row" in " ".join(plan.remarks)


def test_without_the_hub_they_are_trained_unless_both_are_here(cache):
    assert choose([zoo.find("resnet50_baseline")], 0, fetch=True)[0] == TRAINED
    (cache / "weights").mkdir()
    for name in ("resnet50.tv_in1k", "resnet50d.gluon_in1k"):
        (cache / "weights" / f"{name}.safetensors").touch()
    assert choose([zoo.find("resnet50_baseline")], 0, fetch=True)[0] == PUBLIC
    assert weights(make_plan(asked(cache)))[0] == "timm:resnet50.tv_in1k"


def test_what_was_begun_with_classifiers_of_the_sample_ends_with_them(cache, answering):
    (cache / "classifiers" / "sample" / "resnet50d_mixup_s0_0123").mkdir(parents=True)
    plan = make_plan(asked(cache))
    assert all(one.startswith("sample:") for one in weights(plan))
    assert not is_trained(plan.cells[1].weights), "it was only begun"
    (cache / "classifiers" / "sample" / "resnet50d_mixup_s0_0123.safetensors").touch()
    assert is_trained(plan.cells[1].weights)


def test_every_row_is_trained_by_the_same_schedule_and_its_own_tricks():
    plain, tricks = (
        SAMPLE_TRAINING.recipe(zoo.find(name)) for name in ("resnet50_baseline", "resnet50d_tricks")
    )
    assert plain.tricks() == ("warmup", "cosine")
    assert plain.warmup_epochs / plain.epochs == tricks.warmup_epochs / tricks.epochs
    assert {"zero gamma", "mixup", "label smoothing"} <= set(tricks.tricks())


def test_classifiers_of_the_sample_are_for_the_sample_only(cache):
    with pytest.raises(UserError, match="needs --data sample"):
        make_plan(asked(cache, data="voc2012-animals", weights="sample"))
