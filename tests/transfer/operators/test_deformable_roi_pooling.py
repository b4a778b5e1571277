import pytest
import torch
import torchvision
from mmcv.ops import DeformRoIPool, DeformRoIPoolPack

ROIS = torch.tensor(
    [
        [1, 3.0, 5.0, 37.0, 28.0],
        [0, -12.0, -9.0, 20.0, 14.0],  # reaches out of the image
        [1, 30.0, 25.0, 47.0, 34.0],
        [0, 400.0, 400.0, 440.0, 430.0],  # wholly outside
    ],
    dtype=torch.float64,
)


def given(bins):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 9, 12, generator=generator, dtype=torch.float64)
    offset = torch.randn(len(ROIS), 2, *bins, generator=generator, dtype=torch.float64)
    return features.requires_grad_(), offset.requires_grad_()


def shifted_bins(rois, offset, bins, gamma):
    """Each bin of each RoI as a RoI of its own, shifted by its offset."""
    start, extent = rois[:, 1:3], rois[:, 3:] - rois[:, 1:3]
    for roi in range(len(rois)):
        side = extent[roi] / torch.tensor([bins[1], bins[0]])
        for y in range(bins[0]):
            for x in range(bins[1]):
                shift = gamma * extent[roi] * offset[roi, :, y, x]
                first = start[roi] + torch.tensor([x, y]) * side + shift
                yield torch.cat([rois[roi, :1], first, first + side])


@pytest.mark.parametrize("ratio", [0, 2])
def test_shifted_bins_are_those_of_roi_align(ratio):
    bins = (2, 3)
    features, offset = given(bins)
    found = DeformRoIPool(bins, 0.25, ratio, gamma=0.1)(features, ROIS, offset)
    own = torch.stack(list(shifted_bins(ROIS, offset.detach(), bins, 0.1)))
    expected = torchvision.ops.roi_align(features, own, 1, 0.25, ratio, aligned=True)
    expected = expected.reshape(len(ROIS), *bins, -1).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, expected)
    into = torch.randn_like(found)
    torch.testing.assert_close(
        torch.autograd.grad(found, features, into)[0],
        torch.autograd.grad(expected, features, into)[0],
    )


@pytest.mark.parametrize("ratio", [0, 2])
def test_gradients_of_shifted_bins(ratio):
    features, offset = given((2, 2))
    layer = DeformRoIPool((2, 2), 0.25, ratio)
    assert torch.autograd.gradcheck(
        lambda features, offset: layer(features, ROIS, offset), (features, offset), fast_mode=True
    )


def test_without_offsets_it_is_roi_align():
    features, _ = given((3, 3))
    found = DeformRoIPool((3, 3), 0.25)(features, ROIS)
    expected = torchvision.ops.roi_align(features, ROIS, 3, 0.25, aligned=True)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found.sum(), features)[0],
        torch.autograd.grad(expected.sum(), features)[0],
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_layer_with_learned_offsets_takes_low_precision(dtype):
    features = torch.randn(2, 3, 9, 12).to(dtype).requires_grad_()
    layer = DeformRoIPoolPack((3, 3), 3, deform_fc_channels=8, spatial_scale=0.25).to(dtype)
    found = layer(features, ROIS.to(dtype))
    assert found.dtype == torch.autograd.grad(found.sum(), features)[0].dtype == dtype


def test_no_rois():
    features, _ = given((3, 3))
    offset = torch.zeros(0, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    found = DeformRoIPool((3, 3), 0.25)(features, ROIS[:0], offset)
    assert found.shape == (0, 3, 3, 3)
    assert torch.autograd.grad(found.sum(), features)[0].abs().sum() == 0
