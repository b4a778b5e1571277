import math

import pytest
import torch
from mmcv.ops import RoIPool

ROIS = torch.tensor(
    [
        [0, 3.0, 5.0, 37.0, 29.0],
        [1, -12.0, -9.0, 20.0, 14.0],  # reaches out of the image
        [1, 30.3, 25.6, 71.2, 52.9],
        [0, 10.0, 10.0, 10.0, 10.0],  # one pixel
        [0, 400.0, 400.0, 440.0, 430.0],  # wholly outside
        [1, 20.0, 20.0, 10.0, 30.0],  # ends before it begins
    ]
)


def brute_force(features, rois, bins, scale):
    """The maximum of each bin, pixel by pixel: edges as real numbers, widened to whole pixels."""
    height, width = features.shape[2:]
    rows = []
    scale = rois.numpy().dtype.type(scale)  # edges are of the RoIs' precision
    for image, x1, y1, x2, y2 in rois.numpy():
        left, top = x1 * scale, y1 * scale
        wide, high = (x2 + 1) * scale - left, (y2 + 1) * scale - top
        for by in range(bins[0]):
            for bx in range(bins[1]):
                xs = range(
                    max(math.floor(bx * wide / bins[1] + left), 0),
                    min(math.ceil((bx + 1) * wide / bins[1] + left), width),
                )
                ys = range(
                    max(math.floor(by * high / bins[0] + top), 0),
                    min(math.ceil((by + 1) * high / bins[0] + top), height),
                )
                pixels = [features[int(image), :, y, x] for y in ys for x in xs]
                empty = not pixels or wide <= 0 or high <= 0
                rows.append(features.new_zeros(features.shape[1]) if empty else _largest(pixels))
    return torch.stack(rows).reshape(len(rois), *bins, -1).permute(0, 3, 1, 2)


def _largest(pixels):
    return torch.stack(pixels).max(dim=0).values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bins", [(3, 3), (2, 5)])
@pytest.mark.parametrize("scale", [0.25, 0.3])
def test_roi_pool_equals_brute_force(dtype, bins, scale):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 9, 12, generator=generator, dtype=dtype, requires_grad=True)
    pooled = RoIPool(bins, scale)(features, ROIS.to(dtype))
    expected = brute_force(features, ROIS.to(dtype), bins, scale)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=0)
    weights = torch.randn(pooled.shape, generator=generator, dtype=dtype)
    (gradient,) = torch.autograd.grad(pooled, features, weights)
    (expected_gradient,) = torch.autograd.grad(expected, features, weights)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_roi_pool_of_low_precision(dtype):
    features = torch.randn(2, 3, 9, 12).to(dtype).requires_grad_()
    rois = ROIS.round()
    pooled = RoIPool(3, 0.25)(features, rois.to(dtype))
    assert pooled.dtype == dtype
    exact = RoIPool(3, 0.25)(features.float(), rois)
    torch.testing.assert_close(pooled.float(), exact, rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(pooled.sum(), features)
    assert gradient.dtype == dtype
    assert gradient.sum() == (exact != 0).sum()


def test_roi_pool_without_rois():
    features = torch.randn(1, 4, 5, 5, requires_grad=True)
    pooled = RoIPool(7, 0.25)(features, torch.zeros(0, 5))
    assert pooled.shape == (0, 4, 7, 7)
    assert torch.autograd.grad(pooled.sum(), features)[0].abs().sum() == 0
