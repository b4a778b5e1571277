import math
from itertools import product

import pytest
import torch
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)

SHAPES = torch.tensor([[4, 5], [2, 3]])
STARTS = torch.tensor([0, 20])


def attention(*given):
    """The function that mmcv calls on a GPU, on any device."""
    value, locations, weights = given
    return MultiScaleDeformableAttnFunction.apply(value, SHAPES, STARTS, locations, weights, 64)


def given(dtype=torch.float64):
    """Values, sampling locations, some of them outside, and weights of 2 images and 3 queries."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    value = random(2, 26, 2, 3) - 0.5
    locations = 1.6 * random(2, 3, 2, 2, 4, 2) - 0.3
    weights = random(2, 3, 2, 8).softmax(-1).unflatten(-1, (2, 4))
    return [each.to(dtype).requires_grad_() for each in (value, locations, weights)]


def brute_force(value, locations, weights):
    """Equation 3 of the paper, sample by sample."""
    count, _, heads, depth = value.shape
    result = value.new_zeros(count, locations.shape[1], heads, depth)
    for b, q, m, level, p in product(*map(range, weights.shape)):
        height, width = SHAPES[level].tolist()
        plane = value[b, STARTS[level] : STARTS[level] + height * width, m]
        x, y = (locations[b, q, m, level, p] * torch.tensor([width, height]) - 0.5).tolist()
        for row in (math.floor(y), math.floor(y) + 1):
            for column in (math.floor(x), math.floor(x) + 1):
                if 0 <= row < height and 0 <= column < width:
                    part = (1 - abs(y - row)) * (1 - abs(x - column))
                    pixel = plane[row * width + column]
                    result[b, q, m] += weights[b, q, m, level, p] * part * pixel
    return result.flatten(2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_attention_equals_brute_force(dtype):
    tensors = given(dtype)
    found = attention(*tensors)
    torch.testing.assert_close(found, brute_force(*(each.detach() for each in tensors)))
    value, locations, weights = tensors
    stock = multi_scale_deformable_attn_pytorch(value, SHAPES, locations, weights)
    torch.testing.assert_close(found, stock)
    into = torch.randn_like(found)
    for gradient, expected in zip(
        torch.autograd.grad(found, tensors, into),
        torch.autograd.grad(stock, tensors, into),
        strict=True,
    ):
        torch.testing.assert_close(gradient, expected)


def test_gradients_of_attention():
    assert torch.autograd.gradcheck(attention, given(), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_attention_of_low_precision_samples_in_float32(dtype):
    value, locations, weights = given(torch.float32)
    low = value.detach().to(dtype).requires_grad_()
    found = attention(low, locations, weights)
    assert found.dtype == dtype
    exact = attention(low.float(), locations.to(dtype).float(), weights.to(dtype).float())
    torch.testing.assert_close(found, exact.to(dtype), rtol=0, atol=0)
    gradients = torch.autograd.grad(found.sum(), (low, locations, weights))
    assert [each.dtype for each in gradients] == [dtype, torch.float32, torch.float32]
    expected = torch.autograd.grad(exact.sum(), (low, locations, weights))
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient.float(), wanted.float(), rtol=0.05, atol=0.05)
