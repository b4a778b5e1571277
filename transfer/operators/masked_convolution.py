"""The two halves of mmcv's masked convolution, which computes only some pixels of a map.

Guided anchoring (arXiv 1901.03278) tests with it. mmcv multiplies by the weights itself and has no
gradient.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """The window around each chosen pixel, written into ``col``.

    Args:
        im: (1, C, H, W).
        mask_h_idx: (M,), rows of the chosen pixels.
        mask_w_idx: (M,), their columns.
        col: (C kernel_h kernel_w, M), overwritten.
        kernel_h: Height of a window.
        kernel_w: Its width.
        pad_h: Zeros above and below the map.
        pad_w: Zeros on both sides of it.
    """
    padded = functional.pad(im[0], (pad_w, pad_w, pad_h, pad_h))
    windows = padded.unfold(1, kernel_h, 1).unfold(2, kernel_w, 1)  # (C, H', W', kH, kW), a view
    chosen = windows[:, mask_h_idx, mask_w_idx]
    col.copy_(chosen.permute(0, 2, 3, 1).reshape(col.shape))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    height: int,
    width: int,
    channels: int,
) -> None:
    """The computed pixels (channels, M), written into their places in ``im`` (1, C, H, W)."""
    im[0, :, mask_h_idx, mask_w_idx] = col
