from itertools import product

import pytest
import torch
from mmcv.ops import PSAMask


def brute_force(windows, kind, mask, size):
    """The weight of each pixel for each other, pair by pair."""
    height, width = size
    result = windows.new_zeros(len(windows), height * width, height, width)
    for b, y, x, i, j in product(range(len(windows)), *map(range, (*size, *mask))):
        row, column = y + i - (mask[0] - 1) // 2, x + j - (mask[1] - 1) // 2
        if 0 <= row < height and 0 <= column < width:
            weight = windows[b, i * mask[1] + j, y, x]
            if kind == "collect":
                result[b, row * width + column, y, x] = weight
            else:
                result[b, y * width + x, row, column] = weight
    return result


@pytest.mark.parametrize("kind", ["collect", "distribute"])
@pytest.mark.parametrize("mask", [(3, 3), (5, 7), (9, 1), (2, 4)])
def test_attention_masks_equal_brute_force(kind, mask):
    generator = torch.Generator().manual_seed(0)
    shape = (2, mask[0] * mask[1], 4, 5)
    windows = torch.rand(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    found = PSAMask(kind, mask)(windows)
    expected = brute_force(windows, kind, mask, (4, 5))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    into = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad(found, windows, into)[0],
        torch.autograd.grad(expected, windows, into)[0],
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_attention_masks_of_low_precision(dtype):
    windows = torch.rand(1, 9, 4, 5).to(dtype).requires_grad_()
    found = PSAMask("collect", (3, 3))(windows)
    assert found.dtype == torch.autograd.grad(found.sum(), windows)[0].dtype == dtype
