"""Where in a file the weights are, which of several are meant, and whether they can be used."""

import re

import pytest
import timm
import torch
from safetensors.torch import save_file

from backbones.common.errors import UserError
from backbones.weights import weights
from tests.backbones.weights.test_weights import behind, load, state_of

NETWORK = "test_resnet"
OPTIMIZER = {"state": {i: {"exp_avg": torch.ones(3)} for i in range(3)}, "param_groups": [{}]}


def state():
    return state_of(NETWORK)


def other():
    return {name: tensor + 1 for name, tensor in state().items()}


def loaded(saved, folder):
    """The report of a file whose network is the one of :func:`state`."""
    found, report = load(saved, NETWORK, folder)
    expected = {name.replace(".", "_"): tensor for name, tensor in state().items()}
    for name, tensor in found.items():
        if "num_batches" not in name:
            assert torch.equal(tensor, expected[name.replace(".", "_")]), name
    return report


# --- Tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("saved", "place"),
    [
        (lambda s: {"epoch": 5, "model_state_dict": s, "optimizer_state_dict": OPTIMIZER},
         "in 'model_state_dict'"),
        (lambda s: {"net": behind("module.", s), "acc": 93.2, "epoch": 5}, "in 'net'"),
        (lambda s: {"state_dict": behind("module._orig_mod.", s)}, "in 'state_dict'"),
        (lambda s: {"model": s, "best": torch.tensor(93.2), "optimizer": OPTIMIZER}, "in 'model'"),
        (lambda s: {"model": {"state_dict": {"model": s}}}, "in 'model.state_dict.model'"),
        (lambda s: {"backbone": behind("encoder.", s)}, "in 'backbone', behind 'encoder.'"),
        (lambda s: [s, OPTIMIZER, 3], "in '[0]'"),
        (lambda s: {"models": (s, 1)}, "in 'models[0]'"),
        (lambda s: {"model": s, "ema": {"decay": 0.9}}, "in 'model'"),
        (lambda s: {"model": s, "schema": {"version": torch.ones(1)}, 7: torch.ones(1)},
         "in 'model'"),
        (lambda s: torch.optim.swa_utils.AveragedModel(network()).state_dict(), ""),
        (lambda s: {"ema": torch.optim.swa_utils.AveragedModel(network()).state_dict()},
         "in 'ema'"),
        (lambda s: s | {"epoch": 3}, ""),
    ],
)  # fmt: skip
def test_a_single_table_of_tensors_is_taken_and_reported(saved, place, tmp_path):
    report = loaded(saved(state()), tmp_path)
    assert report.place == place
    assert place in report.lines()[0]


def network():
    model = timm.create_model(NETWORK)
    model.load_state_dict(state())
    return model


def test_a_state_dict_that_is_nested_by_modules(tmp_path):
    nested = {}
    for name, tensor in state().items():
        part = nested
        *modules, field = name.split(".")
        for module in modules:
            part = part.setdefault(module, {})
        part[field] = tensor
    assert loaded(nested, tmp_path).left_over == ()
    assert loaded({"params": nested}, tmp_path).place == "behind 'params.'"


@pytest.mark.parametrize("saved", [{}, {"epoch": 3}, {"a": {"b": [1, {"c": "d"}]}}, []])
def test_no_tensors_at_any_level(saved, tmp_path):
    with pytest.raises(UserError, match="contains no tensors at any level"):
        load(saved, NETWORK, tmp_path)


def test_a_checkpoint_that_contains_itself(tmp_path):
    saved = {"epoch": 3, "model": state()}
    saved["state_dict"] = saved["history"] = [saved, [saved, saved]]
    assert loaded(saved, tmp_path).place == "in 'model'"


# --- The network several times --------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [("student", "teacher"), ("model", "model_ema"), ("state_dict", "ema_state_dict"),
     ("model", "EMA"), ("model", "remaining")],
)  # fmt: skip
def test_of_several_tables_all_are_named_and_none_is_taken(names, tmp_path):
    first, second = names
    expected = re.escape(f"in '{first}' and '{second}'") + ".*" + re.escape(f"[{second!r}]")
    prefixed = {first: behind("module.backbone.", state()), second: behind("backbone.", other())}
    for saved in (
        {first: state(), second: other(), "epoch": 3},
        {**prefixed, "epoch": 9},
        {first: {name: t.half() for name, t in state().items()}, second: state()},
        {first: behind("module.backbone.", state()), second: behind("backbone.", state())},
    ):
        with pytest.raises(UserError, match=expected):
            load(saved, NETWORK, tmp_path)
    inside = re.escape(f"in 'model.{first}' and 'model.{second}'")
    with pytest.raises(UserError, match=inside):
        load({"model": {first: state(), second: other()}}, NETWORK, tmp_path)
    with pytest.raises(UserError, match=re.escape(f"'{first}' and '{second}.module'")):
        load({first: state(), second: {"module": other(), "updates": 3}}, NETWORK, tmp_path)


def test_one_value_makes_a_difference(tmp_path):
    copy = {name: tensor.clone() for name, tensor in state().items()}
    copy["layer4.0.conv1.weight"].view(-1)[-1] += 1
    with pytest.raises(UserError, match="2 times, in 'model' and 'ema'"):
        load({"model": state(), "ema": copy}, NETWORK, tmp_path)
    with pytest.raises(UserError, match=r"twice, under 'a\.' and 'b\.'"):
        load({**behind("a.", state()), **behind("b.", copy)}, NETWORK, tmp_path)
    with pytest.raises(UserError, match=r"twice, under 'no prefix' and 'ema\.'"):
        load({**state(), **behind("ema.", copy)}, NETWORK, tmp_path)


@pytest.mark.parametrize(
    ("saved", "place"),
    [
        (lambda s: {"model": {**behind("module.model.", s), **behind("module.attacker.model.", s),
                              "module.normalizer.new_mean": torch.zeros(3, 1, 1)}},
         "in 'model', behind 'model.', the same as 'attacker.model.'"),
        (lambda s: {**behind("_forward_module.module.", s), **behind("_original_module.", s)},
         "behind '_forward_module.module.', the same as '_original_module.'"),
        (lambda s: {**s, **behind("shadow.", s)}, "the same as 'shadow.'"),
        (lambda s: {**behind("ema.", {k: v for k, v in s.items() if "running" not in k}),
                    **behind("model.", s)}, "behind 'model.', the same as 'ema.'"),
    ],
)  # fmt: skip
def test_the_same_tensors_twice_are_taken_once_and_reported(saved, place, tmp_path):
    report = loaded(saved(state()), tmp_path)
    assert report.place == place
    assert not [name for name in report.left_over if "conv" in name], "the copy is no left-over"


# --- Values ---------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")


def with_values(name, *values):
    tensor = state()[name].clone()
    for place, value in enumerate(values):
        tensor.view(-1)[place] = value
    return {**state(), name: tensor}


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        (lambda: with_values("layer3.0.bn1.running_var", NAN),
         r"layer3\.0\.bn1\.running_var has 1 value of 48 that is NaN or infinite"),
        (lambda: with_values("layer2.0.conv1.weight", INF, -INF, NAN), r"has 3 values of \d+"),
        (lambda: with_values("bn1.running_var", -0.5, -1e-9),
         r"bn1\.running_var is a variance but has 2 values of \d+ that are negative"),
        (lambda: {**state(), "conv1.0.weight": state()["conv1.0.weight"].to(torch.complex64)},
         r"conv1\.0\.weight is of type complex64"),
        (lambda: {**state(), "bn1.weight": (100 * state()["bn1.weight"]).to(torch.int8)},
         r"bn1\.weight is of type int8"),
        (lambda: {k: v.long() for k, v in state().items()}, "is of type int64.*more tensors"),
        (lambda: {**state(), "bn1.bias": state()["bn1.bias"].double() * 1e300}, "infinite"),
        (lambda: {**state(), "bn1.bias": state()["bn1.bias"].to_sparse()}, "stored as"),
        (lambda: {**state(), "bn1.bias": state()["bn1.bias"].to("meta")}, "no values"),
        (lambda: {**state(), "bn1.bias": torch.quantize_per_tensor(
            state()["bn1.bias"], 0.1, 0, torch.qint8)}, "_rebuild_qtensor"),
    ],
)  # fmt: skip
def test_values_that_no_network_computes_with_are_refused_by_name(saved, expected, tmp_path):
    with pytest.raises(UserError, match=expected):
        load(saved(), NETWORK, tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floating_types_of_another_width_are_weights(dtype, tmp_path):
    found, _ = load({k: v.to(dtype) for k, v in state().items()}, NETWORK, tmp_path)
    for name, tensor in found.items():
        if "num_batches" not in name:
            expected = {k.replace(".", "_"): v for k, v in state().items()}
            assert torch.equal(tensor, expected[name.replace(".", "_")].to(dtype).float())


@pytest.mark.parametrize(
    "odd",
    [torch.tensor([7]), torch.tensor(7.5), torch.tensor(-1), torch.tensor(NAN), torch.zeros(0),
     torch.tensor(7, dtype=torch.int32), None],
)  # fmt: skip
def test_a_count_of_batches_that_is_none_costs_no_weights(odd, tmp_path):
    saved = {k: odd if "num_batches" in k else v for k, v in state().items()}
    saved = {k: v for k, v in saved.items() if v is not None}
    loaded(saved, tmp_path)


def test_how_tensors_lie_in_memory_does_not_count(tmp_path):
    saved = {}
    for name, tensor in state().items():
        wide = torch.zeros(*tensor.shape, 2) if tensor.ndim else tensor
        saved[name] = wide[..., 0].copy_(tensor) if tensor.ndim else tensor
    assert not saved["conv1.0.weight"].is_contiguous()
    loaded(saved, tmp_path)
    shared = torch.full((48,), 0.5)
    same = [name for name, tensor in state().items() if tensor.shape == (48,)]
    report = load({**state(), **dict.fromkeys(same, shared)}, NETWORK, tmp_path)[1]
    assert set(same) <= set(report.matched)


def test_faults_outside_of_the_backbone_cost_no_weights(tmp_path):
    loaded({**state(), "fc.weight": state()["fc.weight"] * NAN,
            "neck.weight": torch.ones(2, dtype=torch.complex64)}, tmp_path)  # fmt: skip


def test_a_part_of_no_size_is_of_another_shape(tmp_path):
    with pytest.raises(UserError, match=r"of another shape, such as bn1\.bias \(0,\)"):
        load({**state(), "bn1.bias": torch.zeros(0)}, NETWORK, tmp_path)


def test_the_other_format_is_looked_at_too(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(with_values("bn1.running_mean", NAN), path)
    with pytest.raises(UserError, match=r"bn1\.running_mean has 1 value"):
        weights.match(NETWORK, weights.read(path, NETWORK), str(path))
