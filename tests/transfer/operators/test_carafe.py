from itertools import product

import pytest
import torch
from mmcv.ops import CARAFE


def given(groups, scale, k=3):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 4, 3, 4, generator=generator, dtype=torch.float64)
    shape = (2, groups * k * k, 3 * scale, 4 * scale)
    masks = torch.rand(shape, generator=generator, dtype=torch.float64)
    return features.requires_grad_(), masks.requires_grad_()


def brute_force(features, masks, k, groups, scale):
    """Equation 4 of the paper, pixel by pixel."""
    count, channels, height, width = features.shape
    result = features.new_zeros(count, channels, height * scale, width * scale)
    for b, c, y, x, i, j in product(*map(range, (*result.shape, k, k))):
        row, column = y // scale + i - k // 2, x // scale + j - k // 2
        if 0 <= row < height and 0 <= column < width:
            weight = masks[b, (c // (channels // groups) * k + i) * k + j, y, x]
            result[b, c, y, x] += weight * features[b, c, row, column]
    return result


@pytest.mark.parametrize(("groups", "scale"), [(1, 2), (2, 3)])
def test_carafe_equals_brute_force(groups, scale):
    features, masks = given(groups, scale)
    found = CARAFE(3, groups, scale)(features, masks)
    expected = brute_force(features.detach(), masks.detach(), 3, groups, scale)
    torch.testing.assert_close(found, expected)
    assert torch.autograd.gradcheck(CARAFE(3, groups, scale), (features, masks), fast_mode=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_carafe_of_low_precision_sums_in_float32(dtype):
    features, masks = (each.detach().to(dtype).requires_grad_() for each in given(1, 2))
    found = CARAFE(3, 1, 2)(features, masks)
    exact = CARAFE(3, 1, 2)(features.float(), masks.float())
    torch.testing.assert_close(found, exact.to(dtype), rtol=0, atol=0)
    assert all(each.dtype == dtype for each in torch.autograd.grad(found.sum(), (features, masks)))
