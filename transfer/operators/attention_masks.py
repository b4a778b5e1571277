"""Attention masks of "PSANet: Point-wise Spatial Attention Network" (ECCV 2018).

The network predicts, for each pixel, a window of weights around it. This operator spreads them over
the whole map: for each pair of pixels, the weight with which one attends to the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

_COLLECT = 0  # mmcv passes 1 for "distribute"


def psamask_forward(
    input: Tensor,
    output: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """The weights of all pairs of pixels, written into ``output``.

    Args:
        input: (B, h_mask w_mask, H, W): the window around each pixel (y, x), which begins
            ``half_h_mask`` rows above it and ``half_w_mask`` columns left of it.
        output: (B, H W, H, W), overwritten; 0 for pairs outside of each other's window. To collect,
            the first axis is the other pixel and the last two are the window's own; to distribute,
            it is the other way round.
        psa_type: 0 to collect, 1 to distribute.
        num_: B.
        h_feature: H.
        w_feature: W.
        h_mask: Height of a window.
        w_mask: Width of a window.
        half_h_mask: Rows of a window above its pixel.
        half_w_mask: Columns of a window left of its pixel.
    """
    sizes = (h_feature, w_feature), (h_mask, w_mask), (half_h_mask, half_w_mask)
    place, inside = _places(*sizes, device=input.device)
    pairs = input.flatten(2).gather(1, place.expand(num_, -1, -1)) * inside
    output.copy_((pairs if psa_type == _COLLECT else pairs.mT).reshape(output.shape))


def psamask_backward(
    grad_output: Tensor,
    grad_input: Tensor,
    psa_type: int,
    num_: int,
    h_feature: int,
    w_feature: int,
    h_mask: int,
    w_mask: int,
    half_h_mask: int,
    half_w_mask: int,
) -> None:
    """The gradient of :func:`psamask_forward`, written into ``grad_input``."""
    sizes = (h_feature, w_feature), (h_mask, w_mask), (half_h_mask, half_w_mask)
    place, inside = _places(*sizes, device=grad_output.device)
    pairs = grad_output.flatten(2)
    pairs = (pairs if psa_type == _COLLECT else pairs.mT) * inside
    windows = torch.zeros_like(grad_input).flatten(2)
    windows.scatter_add_(1, place.expand(num_, -1, -1), pairs)
    grad_input.copy_(windows.view_as(grad_input))


def _places(
    size: tuple[int, int],
    window: tuple[int, int],
    half: tuple[int, int],
    *,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """The place of each pixel (rows) in the window around each (columns); whether it is inside."""
    steps = []
    for length in size:
        along = torch.arange(length, device=device)
        steps.append(along[:, None] - along)
    places = [step + before for step, before in zip(steps, half, strict=True)]
    inside = [(place >= 0) & (place < side) for place, side in zip(places, window, strict=True)]
    both = inside[0][:, None, :, None] & inside[1][None, :, None, :]
    place = places[0][:, None, :, None] * window[1] + places[1][None, :, None, :]
    pixels = size[0] * size[1]
    return (place * both).reshape(pixels, pixels), both.reshape(pixels, pixels)
