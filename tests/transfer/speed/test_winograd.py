"""3 × 3 convolutions by Winograd's minimal filtering, against torch's own."""

import copy
import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from tests.support.gradients import with_gradients
from transfer import openmmlab  # noqa: F401  (registers everything, operators first)
from transfer.speed import sparse_rpn, winograd
from transfer.speed.part import Inactive
from transfer.speed.winograd import WinogradConvolutions, convolve

from mmdet.models.dense_heads import RPNHead  # isort: skip
from mmengine.registry import DefaultScope  # isort: skip


def drawn(images, channels, filters, height, width, dtype=torch.float64, seed=0):
    """Maps, weight, bias and a gradient of the output."""
    draws = torch.Generator().manual_seed(seed)
    shapes = (
        (images, channels, height, width),
        (filters, channels, 3, 3),
        (filters,),
        (images, filters, height, width),
    )
    maps, weight, bias, gradient = (torch.randn(each, generator=draws).to(dtype) for each in shapes)
    return maps.relu(), weight / (9 * channels) ** 0.5, bias, gradient


@settings(deadline=None, max_examples=150)
@given(
    st.integers(1, 3),
    st.integers(1, 14),
    st.integers(1, 14),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from([1, 3000, 1 << 20]),
    st.sampled_from([0.0, 0.02, 0.1, 1.0]),
)
def test_values_and_gradients_are_those_of_the_plain_convolution(
    images, height, width, channels, filters, dilation, biased, strip, share
):
    *tensors, gradient = drawn(images, channels, filters, height, width)
    draws = torch.Generator().manual_seed(1)
    gradient *= torch.rand(images, 1, height, width, generator=draws) < share
    if not biased:
        tensors.pop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "_STRIP", strip)
        found = with_gradients(
            lambda maps, weight, bias=None: convolve(maps, weight, bias, dilation),
            tensors,
            gradient,
        )
    expected = with_gradients(
        lambda maps, weight, bias=None: functional.conv2d(
            maps, weight, bias, padding=dilation, dilation=dilation
        ),
        tensors,
        gradient,
    )
    for ours, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_error_is_a_few_times_that_of_a_plain_convolution_in_the_same_precision(dtype, layout):
    maps, weight, bias, gradient = drawn(2, 256, 256, 24, 20, torch.float32)
    maps, gradient = (each.to(dtype).contiguous(memory_format=layout) for each in (maps, gradient))
    tensors = [maps, weight, bias]

    def plain(maps, weight, bias):
        return functional.conv2d(maps, weight, bias, padding=1)

    exact = with_gradients(plain, [each.double() for each in tensors], gradient.double())

    def errors(convolution):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            found = with_gradients(convolution, tensors, gradient)
        pairs = zip(found, exact, strict=True)
        return [float((a - b).detach().norm() / b.detach().norm()) for a, b in pairs]

    ours = errors(lambda maps, weight, bias: convolve(maps, weight, bias, 1))
    for a, b in zip(ours, errors(plain), strict=True):
        assert a < 6 * b


def test_it_takes_24_multiplications_for_72():
    counts = []
    maps, weight, _, gradient = drawn(2, 4, 4, 12, 8, torch.float32)
    for convolution in (
        lambda maps, weight: functional.conv2d(maps, weight, padding=1),
        lambda maps, weight: convolve(maps, weight, None, 1),
    ):
        with FlopCounterMode(display=False) as counter:
            with_gradients(convolution, [maps, weight], gradient)
        counted = counter.get_flop_counts()["Global"]
        counts.append({str(name).rpartition(".")[2]: count for name, count in counted.items()})
    plain, ours = counts
    of_kernels = 2 * 4 * 4 * 9 * 24  # once a step, however large the maps are
    assert ours["mm"] == of_kernels
    assert (ours["bmm"] - of_kernels) * 72 == sum(plain.values()) * 24


@pytest.mark.parametrize("place", [(0, 0), (7, 7), (11, 3)])
def test_tiles_without_a_gradient_are_not_multiplied(place):
    maps, weight, _, gradient = drawn(2, 4, 4, 12, 8, torch.float32)
    alone = torch.zeros_like(gradient)
    alone[1, :, place[0], place[1]] = gradient[1, :, place[0], place[1]]
    counts = []
    for each in (gradient, alone):
        with FlopCounterMode(display=False) as counter:
            with_gradients(
                lambda maps, weight: convolve(maps, weight, None, 1), [maps, weight], each
            )
        counts.append(counter.get_flop_counts()["Global"][torch.ops.aten.bmm])
    a_tile = 2 * 24 * 4 * 4
    height, width = place
    touched = len({(height + y) // 4 for y in (-1, 0, 1) if 0 <= height + y < 12}) * len(
        {(width + x) // 2 for x in (-1, 0, 1) if 0 <= width + x < 8}
    )
    every = 2 * 3 * 4  # tiles, in the products of the gradient of the maps, and of the weight's
    assert counts[0] - counts[1] == a_tile * (2 * every - touched - 1)


LAYERS = {
    "plain": nn.Conv2d(256, 256, 3, padding=1),
    "dilated": nn.Conv2d(256, 256, 3, padding=2, dilation=2, bias=False),
    "strided": nn.Conv2d(256, 256, 3, padding=1, stride=2),
    "grouped": nn.Conv2d(256, 256, 3, padding=1, groups=2),
    "without a border": nn.Conv2d(256, 256, 3),
    "reflecting": nn.Conv2d(256, 256, 3, padding=1, padding_mode="reflect"),
    "of few channels": nn.Conv2d(128, 256, 3, padding=1),
    "of one position": nn.Conv2d(256, 256, 1),
    "another class": nn.LazyConv2d(256, 3, padding=1),
}


def hooked(model):
    WinogradConvolutions().install(types.SimpleNamespace(model=model))
    return model


def test_where_there_is_no_such_convolution_it_says_so(without_amx):
    with pytest.raises(Inactive, match="256 channels"):
        hooked(nn.Sequential(copy.deepcopy(LAYERS["of few channels"])))


@pytest.fixture
def without_amx(monkeypatch):
    monkeypatch.setattr(winograd, "cpu_flags", lambda: frozenset({"avx512_bf16"}))


@pytest.mark.usefixtures("without_amx")
def test_plain_convolutions_of_many_channels_are_taken_over_and_no_others():
    model = hooked(nn.ModuleDict(copy.deepcopy(LAYERS)))
    taken = {name for name, layer in model.items() if "forward" in vars(layer)}
    assert taken == {"plain", "dilated"}
    assert model.state_dict().keys() == nn.ModuleDict(LAYERS).state_dict().keys()


@pytest.mark.parametrize("amx", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_it_is_for_float32_and_for_bfloat16_without_amx(dtype, amx, monkeypatch):
    flags = frozenset({"avx512_bf16", "amx_bf16"} if amx else {"avx512_bf16"})
    monkeypatch.setattr(winograd, "cpu_flags", lambda: flags)
    layer = hooked(copy.deepcopy(LAYERS["plain"]))
    maps = torch.zeros(1, 256, 40, 40)
    if dtype is torch.float64:
        layer, maps = layer.double(), maps.double()
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype is not torch.float32)
    with torch.no_grad(), autocast, FlopCounterMode(display=False) as counter:
        output = layer(maps)
    assert output.dtype is dtype
    taken = "aten.bmm" in {str(name) for name in counter.get_flop_counts()["Global"]}
    assert taken is (dtype is torch.float32 or (dtype is torch.bfloat16 and not amx))


@pytest.mark.usefixtures("without_amx")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_what_follows_may_change_its_output_in_place(precision):
    plain = nn.Sequential(copy.deepcopy(LAYERS["plain"]), nn.ReLU(inplace=True))
    maps = torch.randn(1, 256, 40, 40, generator=torch.Generator().manual_seed(0))
    seen = []
    for model in (plain, hooked(copy.deepcopy(plain))):
        own = maps.clone().requires_grad_()
        with torch.autocast("cpu", precision, enabled=precision is torch.bfloat16):
            output = model(own)
        output.float().square().sum().backward()
        seen.append([output.float(), own.grad, model[0].weight.grad, model[0].bias.grad])
    coarse = precision is torch.bfloat16
    for expected, ours in zip(*seen, strict=True):
        scale = float(expected.detach().abs().max())
        torch.testing.assert_close(ours, expected, rtol=0, atol=scale * (3e-2 if coarse else 1e-4))


def test_a_second_derivative_is_refused_not_left_out():
    *tensors, _ = drawn(1, 3, 2, 6, 5)
    tensors = [each.requires_grad_() for each in tensors]
    output = convolve(*tensors, 1).square().sum()
    (of_maps,) = torch.autograd.grad(output, tensors[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        of_maps.square().sum().backward()


@pytest.mark.usefixtures("without_amx")
@pytest.mark.parametrize(
    ("name", "shape", "taken"),
    [
        ("plain", (1, 256, 40, 40), True),
        ("plain", (1, 256, 39, 40), False),  # few positions
        ("dilated", (1, 256, 41, 41), True),
        ("plain", (400, 256, 2, 2), True),
        ("dilated", (400, 256, 2, 2), False),  # tiles of four times as many positions
        ("plain", (256, 40, 40), False),  # no batch
    ],
)
def test_small_maps_and_such_as_tiles_cover_badly_are_convolved_plainly(name, shape, taken):
    plain = LAYERS[name]
    layer = hooked(copy.deepcopy(plain))
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = layer(maps), plain(maps)
    assert torch.equal(found, expected) is not taken
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("without_amx")
def test_under_autocast_it_computes_in_the_lower_precision_from_the_weights_own():
    layer = hooked(copy.deepcopy(LAYERS["plain"])).to(memory_format=torch.channels_last)
    maps = torch.randn(1, 256, 40, 40, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(maps)
    output.float().square().sum().backward()
    assert output.dtype is torch.bfloat16
    assert maps.grad.dtype is layer.weight.grad.dtype is layer.bias.grad.dtype is torch.float32
    assert layer.weight.grad.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("frozen", ["maps", "weight", "bias"])
def test_what_is_frozen_gets_no_gradient_and_the_rest_its_own(frozen):
    *tensors, gradient = drawn(1, 3, 2, 6, 5)
    names = ("maps", "weight", "bias")
    expected = dict(
        zip(
            names,
            with_gradients(lambda *t: convolve(*t, 1), tensors, gradient)[1:],
            strict=True,
        )
    )
    for name, tensor in zip(names, tensors, strict=True):
        tensor.requires_grad_(name != frozen)
    convolve(*tensors, 1).backward(gradient)
    for name, tensor in zip(names, tensors, strict=True):
        assert tensor.grad is None if name == frozen else torch.equal(tensor.grad, expected[name])


@pytest.mark.usefixtures("without_amx")
def test_a_proposal_networks_own_way_goes_through_it_too():
    anchors = {"type": "AnchorGenerator", "scales": [8], "ratios": [0.5, 1, 2], "strides": [4]}
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        head = RPNHead(in_channels=256, feat_channels=256, anchor_generator=anchors)
    for parameter in head.parameters():
        nn.init.normal_(parameter, std=0.05)
    features = torch.randn(1, 256, 40, 41)
    seen = []
    for changed in (False, True):
        if changed:
            runner = types.SimpleNamespace(model=head)
            sparse_rpn.SparseRpnGradients().install(runner)
            WinogradConvolutions().install(runner)
        own = features.clone().requires_grad_()
        head.zero_grad()
        with FlopCounterMode(display=False) as counter:
            (scores,), (deltas,) = head((own,))
        multiplied = {str(name) for name in counter.get_flop_counts()["Global"]}
        assert ("aten.bmm" in multiplied) is changed
        (scores[0, :, 3, 4].sum() + deltas[0, :, 20, 30].sum()).backward()
        seen.append([scores, deltas, own.grad, *(each.grad for each in head.parameters())])
    for plain, ours in zip(*seen, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-3)
