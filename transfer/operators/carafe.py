"""CARAFE: upsampling by kernels that depend on the content (arXiv 1905.02188)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from transfer.operators.float_types import widened
from transfer.operators.recomputed import write_gradients


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Upsampled features, written into ``output``.

    Each output pixel is a weighted sum of the k × k window around the pixel that it comes from.

    Args:
        features: (B, C, H, W).
        masks: (B, G k², s H, s W), the weights for each output pixel.
        rfeatures: (B, C, H, W), overwritten by the features, for the gradient.
        routput: Unused buffer.
        rmasks: Unused buffer.
        output: (B, C, s H, s W), overwritten.
        kernel_size: k, odd.
        group_size: G, the number of groups of channels; a group shares its weights.
        scale_factor: s.
    """
    rfeatures.copy_(features)
    output.copy_(_upsampled(widened(features), widened(masks), kernel_size, group_size))


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """The gradients of :func:`carafe_forward`, written into ``grad_input`` and ``grad_masks``."""
    write_gradients(
        lambda features, weights: _upsampled(features, weights, kernel_size, group_size),
        (rfeatures, masks),
        grad_output,
        (grad_input, grad_masks),
    )


def _upsampled(features: Tensor, masks: Tensor, kernel_size: int, groups: int) -> Tensor:
    count, channels, height, width = features.shape
    scale = masks.shape[2] // height
    half = kernel_size // 2
    padded = functional.pad(features, (half, half, half, half)).unflatten(1, (groups, -1))
    weights = masks.reshape(
        *(count, groups, 1, kernel_size, kernel_size), *(height, scale, width, scale)
    )
    total = torch.zeros((), dtype=features.dtype, device=features.device)
    for y in range(kernel_size):
        for x in range(kernel_size):
            source = padded[..., y : y + height, x : x + width]
            total = total + source[..., :, None, :, None] * weights[:, :, :, y, x]
    return total.reshape(count, channels, height * scale, width * scale)
