import functools
import types

import numpy as np
import pytest
import torch

from backbones.common.errors import UserError
from transfer.operators import stand_in

stand_in.install()

from mmcv.ops import RoIAlign  # noqa: E402
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor  # noqa: E402

from transfer.speed.part import Inactive  # noqa: E402
from transfer.speed.sparse_roi_align import SparseRoIExtraction  # noqa: E402


def an_extractor(bins, scales, ratio, *, aligned=True):
    layer = {"type": "RoIAlign", "output_size": bins, "sampling_ratio": ratio, "aligned": aligned}
    return SingleRoIExtractor(layer, 3, [1 / scale for scale in scales], finest_scale=8)


def sparse(extractor):
    SparseRoIExtraction().install(types.SimpleNamespace(model=extractor))
    assert "forward" in vars(extractor)
    return extractor


def sparse_roi_align(bins, scale, ratio, aligned=True):
    extractor = sparse(an_extractor(bins, [scale], ratio, aligned=aligned))
    return lambda features, rois: extractor((features,), rois)


def bilinear(plane: torch.Tensor, y: float, x: float) -> torch.Tensor:
    """One sample of a (C, H, W) map, as Mask R-CNN's appendix and its code define it."""
    _, height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return torch.zeros(len(plane), dtype=plane.dtype)
    y, x = max(y, 0.0), max(x, 0.0)
    y0, x0 = min(int(y), height - 1), min(int(x), width - 1)
    y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
    fy, fx = (0.0 if y0 == y1 else y - y0), (0.0 if x0 == x1 else x - x0)
    top = (1 - fx) * plane[:, y0, x0] + fx * plane[:, y0, x1]
    bottom = (1 - fx) * plane[:, y1, x0] + fx * plane[:, y1, x1]
    return (1 - fy) * top + fy * bottom


def brute_force_roi_align(features, rois, bins, scale, ratio, aligned):
    """RoIAlign sample by sample, bin by bin."""
    shift = 0.5 if aligned else 0.0
    pooled = []
    for image, *corners in rois.tolist():
        x1, y1, x2, y2 = (c * scale - shift for c in corners)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        rows = []
        for by in range(bins):
            for bx in range(bins):
                ny = ratio or int(np.ceil(height / bins))
                nx = ratio or int(np.ceil(width / bins))
                total = torch.zeros(features.shape[1], dtype=features.dtype)
                for iy in range(ny):
                    for ix in range(nx):
                        y = y1 + (by + (iy + 0.5) / ny) * height / bins
                        x = x1 + (bx + (ix + 0.5) / nx) * width / bins
                        total = total + bilinear(features[int(image)], y, x)
                rows.append(total / max(ny * nx, 1))
        pooled.append(torch.stack(rows, dim=1).reshape(-1, bins, bins))
    return torch.stack(pooled)


ROIS = torch.tensor(
    [
        [0, 3.0, 5.0, 37.0, 29.0],
        [1, -12.0, -9.0, 20.0, 14.0],  # reaches out of the image
        [1, 30.0, 25.0, 71.0, 52.0],
        [0, 10.0, 10.0, 10.0, 10.0],  # no extent
        [0, 400.0, 400.0, 440.0, 430.0],  # wholly outside
    ]
)


@pytest.mark.parametrize("layer_type", [RoIAlign, sparse_roi_align])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("bins", [7, 3])
def test_roi_align_equals_brute_force(layer_type, ratio, aligned, bins):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 9, 12, generator=generator, requires_grad=True)
    layer = layer_type(bins, 0.25, ratio, aligned=aligned)
    pooled = layer(features, ROIS)
    expected = brute_force_roi_align(features, ROIS, bins, 0.25, ratio, aligned)
    torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-5)
    weights = torch.randn(pooled.shape, generator=generator)
    (gradient,) = torch.autograd.grad(pooled, features, weights)
    (expected_gradient,) = torch.autograd.grad(expected, features, weights)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer_type", [RoIAlign, sparse_roi_align])
def test_roi_align_without_rois(layer_type):
    features = torch.randn(1, 4, 5, 5, requires_grad=True)
    pooled = layer_type(7, 0.25, 0)(features, torch.zeros(0, 5))
    assert pooled.shape == (0, 4, 7, 7)
    assert torch.autograd.grad(pooled.sum(), features)[0].abs().sum() == 0


@pytest.mark.parametrize("layer_type", [RoIAlign, sparse_roi_align])
def test_what_follows_may_change_pooled_features_in_place(layer_type):
    features = torch.randn(2, 3, 9, 12, requires_grad=True)
    pooled = layer_type(7, 0.25, 2)(features, ROIS)
    expected = torch.autograd.grad(pooled.sum(), features, retain_graph=True)[0]
    pooled += 1
    torch.testing.assert_close(torch.autograd.grad(pooled.sum(), features)[0], expected)


@pytest.mark.parametrize("layer_type", [RoIAlign, sparse_roi_align])
def test_roi_align_under_bfloat16_autocast(layer_type):
    features = torch.randn(2, 3, 9, 12, requires_grad=True)
    layer = layer_type(7, 0.25, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = layer(features.bfloat16(), ROIS)
    assert pooled.dtype == torch.bfloat16
    pooled.float().sum().backward()
    exact = layer(features.bfloat16().float(), ROIS)
    torch.testing.assert_close(pooled.float(), exact, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("factor", [None, 1.5])  # that RoIs grow by, once they have their level
@pytest.mark.parametrize("aligned", [True, False])
def test_roi_align_over_a_pyramid_is_the_toolboxs(aligned, factor):
    generator = torch.Generator().manual_seed(0)
    scales = [1 / 4, 1 / 8, 1 / 16]
    maps = [
        torch.randn(2, 3, round(80 * scale), round(112 * scale), generator=generator)
        for scale in scales
    ]
    corner = torch.rand(40, 2, generator=generator) * torch.tensor([90.0, 60.0])
    sides = torch.exp(4 * torch.rand(40, 2, generator=generator))
    image = torch.randint(2, (40, 1), generator=generator)
    rois = torch.cat([image, corner, corner + sides], dim=1)
    found = []
    for exchange in (lambda extractor: extractor, sparse):
        extractor = exchange(an_extractor(7, scales, 0, aligned=aligned))
        assert extractor.map_roi_levels(rois, 3).bincount(minlength=3).all()
        own = [each.clone().requires_grad_() for each in maps]
        pooled = extractor(tuple(own), rois, roi_scale_factor=factor)
        weights = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(1))
        found.append((pooled, *torch.autograd.grad(pooled, own, weights)))
    for ours, stock in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, stock, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("on_a_gpu", [False, True])
def test_rois_keep_float32_under_bfloat16(on_a_gpu):
    features = torch.arange(100.0).expand(1, 3, 100, 100)
    rois = torch.tensor([[0, 200.3, 200.3, 228.3, 228.3]])  # 200.3 is 200 in bfloat16
    extract = sparse(an_extractor(1, [0.25], 2)).forward
    if on_a_gpu:  # the way that maps of a GPU take, with maps of this device
        extract = functools.partial(extract._of_toolbox, roi_scale_factor=None)
    expected = extract((features,), rois)
    found = extract((features.bfloat16(),), rois)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected.bfloat16(), rtol=0, atol=0)
    torch.testing.assert_close(expected.flatten()[0], torch.tensor((214.3 / 4) - 0.5))


@pytest.mark.parametrize("change", [{"pool_mode": "max"}, {"sampling_ratio": 1}])
def test_extractors_that_do_not_average_all_maps_alike_stay_as_they_are(change):
    extractor = an_extractor(7, [0.25, 0.125], 2)
    vars(extractor.roi_layers[1]).update(change)
    with pytest.raises(Inactive, match="pool"):
        SparseRoIExtraction().install(types.SimpleNamespace(model=extractor))
    assert "forward" not in vars(extractor)


def test_max_pooling_is_refused():
    with pytest.raises(UserError, match="pool_mode='avg'"):
        RoIAlign(7, 1.0, 2, pool_mode="max")(torch.zeros(1, 1, 4, 4), ROIS[:1])
