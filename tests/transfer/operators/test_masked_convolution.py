import pytest
import torch
from mmcv.ops import MaskedConv2d
from torch.nn import functional


@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), ((3, 5), (1, 2))])
def test_a_masked_convolution_is_a_convolution_at_the_mask(kernel, padding):
    features = torch.randn(1, 4, 7, 8)
    mask = torch.rand(1, 7, 8) > 0.6
    layer = MaskedConv2d(4, 6, kernel, padding=padding)
    with torch.no_grad():
        found = layer(features, mask)
        plain = functional.conv2d(features, layer.weight, layer.bias, padding=padding)
    torch.testing.assert_close(found, plain * mask, rtol=1e-4, atol=1e-5)


def test_an_empty_mask_gives_zeros():
    layer = MaskedConv2d(4, 6, 3, padding=1)
    with torch.no_grad():
        assert layer(torch.randn(1, 4, 5, 5), torch.zeros(1, 5, 5)).abs().sum() == 0
