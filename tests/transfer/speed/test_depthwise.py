"""Depthwise convolutions with gradients of small kernels, against torch's own."""

import copy
import types

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import Conv2dSame
from torch import nn
from torch.nn import functional

from tests.support.gradients import with_gradients
from transfer import openmmlab  # noqa: F401  (registers everything, operators first)
from transfer.speed.depthwise import DepthwiseGradients, convolve
from transfer.speed.part import Inactive

LAYERS = {
    "3 × 3": (False, nn.Conv2d(8, 8, 3, padding=1, groups=8)),
    "3 × 3, dilated": (True, nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8)),
    "5 × 5": (True, nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)),
    "5 × 5, strided": (True, nn.Conv2d(8, 8, 5, padding=2, stride=2, groups=8)),
    "5 × 5, dilated": (True, nn.Conv2d(8, 8, 5, padding=8, dilation=4, groups=8)),
    "7 × 7": (True, nn.Conv2d(8, 8, 7, padding=3, groups=8)),
    "as in TensorFlow": (True, Conv2dSame(8, 8, 5, stride=2, groups=8)),
    "as in TensorFlow, dilated": (False, Conv2dSame(8, 8, 5, dilation=2, groups=8)),
    "dilated, strided": (False, nn.Conv2d(8, 8, 3, padding=2, dilation=2, stride=2, groups=8)),
    "9 × 9": (False, nn.Conv2d(8, 8, 9, padding=4, groups=8)),
    "5 × 3": (False, nn.Conv2d(8, 8, (5, 3), padding=(2, 1), groups=8)),
    "without a border": (False, nn.Conv2d(8, 8, 5, groups=8)),
    "reflecting": (False, nn.Conv2d(8, 8, 5, padding=2, groups=8, padding_mode="reflect")),
    "two filters a channel": (False, nn.Conv2d(8, 16, 5, padding=2, groups=8)),
    "grouped": (False, nn.Conv2d(8, 8, 5, padding=2, groups=4)),
    "in float64": (False, nn.Conv2d(8, 8, 5, padding=2, groups=8).double()),
}


def hooked(model):
    DepthwiseGradients().install(types.SimpleNamespace(model=model))
    return model


@settings(deadline=None, max_examples=200)
@given(
    images=st.integers(1, 3),
    channels=st.integers(1, 4),
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    side=st.sampled_from([3, 5, 7]),
    spread=st.sampled_from([(1, 1), (2, 1), (3, 1), (1, 2), (1, 3), (1, 4)]),
)
def test_values_and_gradients_are_those_of_the_plain_convolution(
    images, channels, height, width, side, spread
):
    stride, dilation = spread
    draws = torch.Generator().manual_seed(0)
    maps = torch.randn(images, channels, height, width, generator=draws, dtype=torch.float64)
    weight = torch.randn(channels, 1, side, side, generator=draws, dtype=torch.float64)

    def plain(maps, weight):
        padding = dilation * (side // 2)
        return functional.conv2d(maps, weight, None, stride, padding, dilation, channels)

    def ours(maps, weight):
        return convolve(maps, weight, stride=stride, padding=side // 2, dilation=dilation)

    gradient = torch.randn(plain(maps, weight).shape, generator=draws, dtype=torch.float64)
    found, expected = (with_gradients(each, [maps, weight], gradient) for each in (ours, plain))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_with_slow_gradients_are_replaced_and_no_others(name):
    taken, layer = LAYERS[name]
    ours = copy.deepcopy(layer)
    model = nn.Sequential(ours, nn.ReLU(inplace=True))
    if not taken:
        with pytest.raises(Inactive, match="dilated, 5 × 5 or 7 × 7"):
            hooked(model)
        return
    hooked(model)
    assert "forward" in vars(ours)
    assert model.state_dict().keys() == nn.Sequential(layer).state_dict().keys()
    draws = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 8, 13, 18, generator=draws)
    plain = nn.Sequential(copy.deepcopy(layer), nn.ReLU())
    for network in (plain, model):
        network(maps).square().sum().backward()
    torch.testing.assert_close(model(maps), plain(maps))
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-4)


def test_a_layer_without_a_gradient_gives_the_same():
    ours = hooked(copy.deepcopy(nn.Sequential(LAYERS["5 × 5"][1])))
    ours.requires_grad_(False)
    maps = torch.randn(1, 8, 9, 9, requires_grad=True)
    ours(maps).sum().backward()
    assert maps.grad is not None
    assert ours[0].weight.grad is None


def test_a_batch_without_images_has_gradients_of_zero():
    ours = hooked(copy.deepcopy(nn.Sequential(LAYERS["5 × 5"][1])))
    ours(torch.zeros(0, 8, 9, 9)).sum().backward()
    assert not ours[0].weight.grad.any()


def test_autocast_to_bfloat16_is_left_alone():
    ours = hooked(nn.Sequential(copy.deepcopy(LAYERS["5 × 5"][1])))
    with torch.autocast("cpu", torch.bfloat16):
        assert ours(torch.zeros(1, 8, 9, 9)).dtype is torch.bfloat16


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "convnext_atto", "mobilenetv3_small_050"]
)
def test_networks_of_timm_keep_their_gradients(name):
    torch.manual_seed(0)
    plain = timm.create_model(name, features_only=True, output_stride=8).eval()
    ours = hooked(copy.deepcopy(plain))
    maps = torch.randn(2, 3, 72, 88)
    found, expected = (
        torch.autograd.grad(network(maps)[-1].square().mean(), [*network.parameters()])
        for network in (ours, plain)
    )
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= 1e-3 * b.norm() + 1e-8
