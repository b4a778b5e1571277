import math
from itertools import product

import numpy as np
import pytest
import torch
from mmcv.ops import DeformConv2d, ModulatedDeformConv2d, deform_conv2d, modulated_deform_conv2d
from mmdet.models.necks.dyhead import DyHeadBlock
from torch.nn import functional

GEOMETRIES = [  # stride, padding, dilation, groups, deformable groups
    (1, 1, 1, 1, 1),
    (2, (0, 1), 1, 2, 1),
    ((1, 2), 1, (2, 1), 1, 2),
]


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def layers(geometry, seed=0, size=(4, 5)):
    """Input, offsets, masks, weights and biases of a 3 × 2 kernel, in float64."""
    stride, padding, dilation, groups, offset_groups = geometry
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    kernel = (3, 2)
    out = [
        (length + 2 * pad - gap * (side - 1) - 1) // step + 1
        for length, pad, gap, side, step in zip(
            size, pair(padding), pair(dilation), kernel, pair(stride), strict=True
        )
    ]
    given = {
        "input": random(2, 4, *size),
        "offset": 1.5 * random(2, 2 * offset_groups * 6, *out),
        "mask": random(2, offset_groups * 6, *out).sigmoid(),
        "weight": random(6, 4 // groups, *kernel),
        "bias": random(6),
    }
    return {name: tensor.requires_grad_() for name, tensor in given.items()}


def bilinear(plane, y, x):
    """A sample of (H, W), with zeros around it."""
    total = 0.0
    top, left = math.floor(y), math.floor(x)
    for row, column in product((top, top + 1), (left, left + 1)):
        if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
            total += (1 - abs(y - row)) * (1 - abs(x - column)) * plane[row, column]
    return total


def brute_force(*tensors, geometry):
    """Equation 1 of the second paper, tap by tap."""
    input, offset, mask, weight, bias = (tensor.detach().numpy() for tensor in tensors)
    stride, padding, dilation, groups, offset_groups = geometry
    (count, channels), (outputs, _, high, wide) = input.shape[:2], weight.shape
    result = np.zeros((count, outputs, *offset.shape[2:]))
    taps = list(product(range(high), range(wide)))
    for b, o, y, x in np.ndindex(result.shape):
        first = o // (outputs // groups) * (channels // groups)
        for c, (k, (i, j)) in product(range(channels // groups), enumerate(taps)):
            group = (first + c) // (channels // offset_groups)
            at = 2 * (group * len(taps) + k)
            row = y * pair(stride)[0] - pair(padding)[0] + i * pair(dilation)[0]
            column = x * pair(stride)[1] - pair(padding)[1] + j * pair(dilation)[1]
            shift_y, shift_x = offset[b, at : at + 2, y, x]
            sample = bilinear(input[b, first + c], row + shift_y, column + shift_x)
            result[b, o, y, x] += weight[o, c, i, j] * sample * mask[b, at // 2, y, x]
        result[b, o, y, x] += bias[o]
    return torch.from_numpy(result)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_deformable_convolutions_equal_brute_force(geometry):
    given = layers(geometry)
    input, offset, mask, weight, bias = given.values()
    v1 = deform_conv2d(input, offset, weight, *geometry)
    ones, zeros = torch.ones_like(mask), torch.zeros_like(bias)
    expected = brute_force(input, offset, ones, weight, zeros, geometry=geometry)
    torch.testing.assert_close(v1, expected)
    v2 = modulated_deform_conv2d(*given.values(), *geometry)
    torch.testing.assert_close(v2, brute_force(*given.values(), geometry=geometry))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_gradients_of_deformable_convolutions(geometry):
    given = layers(geometry, size=(4, 4))
    assert torch.autograd.gradcheck(
        lambda *tensors: deform_conv2d(*tensors, *geometry),
        [given[name] for name in ("input", "offset", "weight")],
        fast_mode=True,
    )
    for bias in (given["bias"], None):
        tensors = [given[name] for name in ("input", "offset", "mask", "weight")]
        assert torch.autograd.gradcheck(
            lambda *tensors: modulated_deform_conv2d(*tensors, *geometry),
            [*tensors, bias],
            fast_mode=True,
        )


def test_without_offsets_they_are_plain_convolutions():
    images = torch.randn(2, 4, 7, 8)
    layer = DeformConv2d(4, 6, 3, stride=2, padding=1)
    offset = torch.zeros(2, 18, 4, 4)
    expected = functional.conv2d(images, layer.weight, stride=2, padding=1)
    torch.testing.assert_close(layer(images, offset), expected, rtol=1e-4, atol=1e-5)
    masked = ModulatedDeformConv2d(4, 6, 3, stride=2, padding=1)
    half = torch.full((2, 9, 4, 4), 0.5)
    expected = functional.conv2d(images, 0.5 * masked.weight, masked.bias, stride=2, padding=1)
    torch.testing.assert_close(masked(images, offset, half), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_offsets_of_low_precision_as_autocast_gives_them(dtype):
    images = torch.randn(1, 4, 6, 6, requires_grad=True)
    offset = torch.randn(1, 18, 6, 6).to(dtype).requires_grad_()
    mask = torch.rand(1, 9, 6, 6).to(dtype).requires_grad_()
    v1, v2 = DeformConv2d(4, 6, 3, padding=1), ModulatedDeformConv2d(4, 6, 3, padding=1)
    for layer, maps in ((v1, (offset,)), (v2, (offset, mask))):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = layer(images, *maps)
        assert found.dtype == dtype
        leaves = (images, layer.weight, *maps)
        gradients = torch.autograd.grad(found.sum(), leaves)
        exact = layer(images, *(each.float() for each in maps))
        expected = torch.autograd.grad(exact.sum(), leaves)
        torch.testing.assert_close(found.float(), exact, rtol=0.02, atol=0.05)
        for gradient, leaf, wanted in zip(gradients, leaves, expected, strict=True):
            assert gradient.dtype == leaf.dtype
            torch.testing.assert_close(gradient.float(), wanted.float(), rtol=0.05, atol=0.2)


def test_a_larger_map_of_offsets_is_read_as_mmcv_reads_it():
    """Its kernels index the numbers of an image by the output's size."""
    images = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    offset = torch.randn(2, 18, 6, 5, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 9, 6, 5, dtype=torch.float64, requires_grad=True)
    layer = ModulatedDeformConv2d(4, 6, 3, padding=1).double()
    found = layer(images, offset, mask)
    first = [
        torch.stack([each.flatten()[: count * 9].view(count, 3, 3) for each in maps])
        for maps, count in ((offset, 18), (mask, 9))
    ]
    expected = layer(images, *first)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    leaves = (images, offset, mask)
    weights = torch.randn_like(found)
    for gradient, wanted in zip(
        torch.autograd.grad(found, leaves, weights),
        torch.autograd.grad(expected, leaves, weights),
        strict=True,
    ):
        torch.testing.assert_close(gradient, wanted)


def test_a_dynamic_head_trains():
    block = DyHeadBlock(16, 16)
    maps = block([torch.randn(1, 16, side, side) for side in (9, 5, 3)])
    sum(each.sum() for each in maps).backward()
    assert [each.shape[2] for each in maps] == [9, 5, 3]
    assert block.spatial_conv_offset.weight.grad.abs().sum() > 0
