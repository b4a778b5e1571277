"""Convolutions that ask cuDNN for less: the values stay, wherever they are computed."""

import types

import pytest
import torch
from torch import nn

from transfer import openmmlab  # noqa: F401
from transfer.speed.gpu_convolutions import (
    NoBenchmarkInEvaluation,
    PointwiseProducts,
    is_pointwise,
    product,
)
from transfer.speed.part import Inactive


def maps_of(*shape, **kind):
    maps = torch.randn(*shape, **kind).contiguous(memory_format=torch.channels_last)
    return maps.requires_grad_()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(9, 12), (1, 1), (7, 1)])
@pytest.mark.parametrize("channels_last", [True, False])
def test_a_product_gives_a_convolutions_values_and_gradients(stride, bias, size, channels_last):
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 10, 1, stride=stride, bias=bias).double()
    maps = torch.randn(3, 6, *size, dtype=torch.float64)
    if channels_last:
        maps = maps.contiguous(memory_format=torch.channels_last)
        layer = layer.to(memory_format=torch.channels_last)
    maps.requires_grad_()
    inputs = [maps, *layer.parameters()]
    expected, found = layer(maps), product(layer, maps)
    assert found.shape == expected.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
    )


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 1, padding=1),
        nn.Conv2d(4, 4, 1, groups=2),
        nn.ConvTranspose2d(4, 4, 1),
        nn.Conv1d(4, 4, 1),
        nn.Linear(4, 4),
    ],
)
def test_other_layers_are_left_as_they_are(layer):
    assert not is_pointwise(layer)


def test_no_images_give_no_maps():
    layer = nn.Conv2d(4, 6, 1)
    assert product(layer, torch.zeros(0, 4, 5, 7)).shape == (0, 6, 5, 7)


def test_on_the_cpu_layers_are_left_as_they_are():
    model = nn.Sequential(nn.Conv2d(4, 4, 1))
    with pytest.raises(Inactive, match="CPU"):
        PointwiseProducts().install(types.SimpleNamespace(model=model))
    assert "forward" not in vars(model[0])


@pytest.mark.parametrize("asked", [True, False])
def test_an_evaluation_tries_no_convolutions_out_and_training_goes_on_as_before(monkeypatch, asked):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", asked)
    hook = NoBenchmarkInEvaluation()
    for _ in range(2):
        hook.before_evaluation()
        assert not torch.backends.cudnn.benchmark
        hook.after_evaluation()
        assert torch.backends.cudnn.benchmark == asked


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("stride", [1, 2])
def test_on_a_gpu_bfloat16_is_as_close_to_float64_as_cudnns(stride):
    torch.manual_seed(0)
    layer = nn.Conv2d(256, 512, 1, stride=stride).cuda().to(memory_format=torch.channels_last)
    maps = maps_of(2, 256, 75, 114, device="cuda", dtype=torch.bfloat16)
    weights = torch.randn_like(layer(maps.float()))

    def computed(forward, inputs, dtype):
        found = forward(inputs[0])
        whole = (found * weights.to(dtype)).sum()
        return [found, *torch.autograd.grad(whole, inputs)]

    exact = nn.Conv2d(256, 512, 1, stride=stride).cuda().double()
    exact.load_state_dict({k: v.bfloat16().double() for k, v in layer.state_dict().items()})
    wide = maps.detach().double().requires_grad_()
    expected = computed(exact, [wide, *exact.parameters()], torch.float64)
    model = nn.Sequential(layer)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        cudnn = computed(layer, [maps, *layer.parameters()], torch.bfloat16)
        PointwiseProducts().install(types.SimpleNamespace(model=model))
        ours = computed(layer, [maps, *layer.parameters()], torch.bfloat16)
    for one, other, true in zip(ours, cudnn, expected, strict=True):
        off, its = ((each.double() - true).norm() / true.norm() for each in (one, other))
        assert off <= 1.5 * its + 1e-3
