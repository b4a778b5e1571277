"""RoIAlign ("Mask R-CNN", arXiv 1703.06870) and RoIPool ("Fast R-CNN", arXiv 1504.08083)."""

from __future__ import annotations

import torch
import torchvision  # noqa: F401  (registers its operators with torch)
from torch import Tensor

from backbones.common.errors import UserError
from transfer.operators.float_types import widened

_AVERAGE_POOLING = 1  # mmcv passes 0 for max and 1 for average


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign, average pooling, written into ``output`` as mmcv expects.

    Args:
        input: (B, C, H, W) feature map.
        rois: (K, 5), batch index and x1 y1 x2 y2 in image pixels.
        output: (K, C, aligned_height, aligned_width), overwritten.
        argmax_y: Unused, only for max pooling.
        argmax_x: Unused, only for max pooling.
        aligned_height: Bins along y.
        aligned_width: Bins along x.
        spatial_scale: Map pixels per image pixel.
        sampling_ratio: Samples per bin and axis; 0 takes one per pixel of the bin.
        pool_mode: 1 for average; 0 (max) is refused.
        aligned: Whether the half-pixel shift is applied.

    Raises:
        UserError: The pooling is not average.
    """
    _average_only(pool_mode)
    pooled = torch.ops.torchvision.roi_align(
        *_one_type(input, rois),
        spatial_scale,
        aligned_height,
        aligned_width,
        sampling_ratio,
        aligned,
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """The gradient of :func:`roi_align_forward`, written into ``grad_input`` (B, C, H, W)."""
    _average_only(pool_mode)
    gradient = torch.ops.torchvision._roi_align_backward(
        *_one_type(grad_output, rois),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.copy_(gradient)


def _one_type(features: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one floating-point type that torchvision supports on this device.

    Its kernels do not support bfloat16, nor float16 on the CPU, so the computation is done in
    float32. Autocast does that only for the forward operator, and only if it is on.
    """
    if features.dtype == torch.bfloat16 or features.is_cpu:
        features = widened(features)
    return features.contiguous(), rois.to(features.dtype).contiguous()


def _average_only(pool_mode: int) -> None:
    if pool_mode != _AVERAGE_POOLING:
        raise UserError(
            "RoIAlign with pool_mode='max' is not supported by torchvision; use pool_mode='avg', "
            "or install an mmcv with its operators compiled."
        )


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """RoIPool: the maximum of each bin, written into ``output``.

    torchvision rounds RoIs to whole pixels of the map and then divides them into bins; mmcv divides
    first. So torchvision pools mmcv's bins, each as a RoI with a single bin.

    Args:
        input: (B, C, H, W) feature map.
        rois: (K, 5), batch index and x1 y1 x2 y2 in image pixels, the last pixel included.
        output: (K, C, pooled_height, pooled_width), overwritten; 0 where a bin is empty.
        argmax: Same shape, int32, overwritten: the place y W + x of each maximum; -1 where a bin is
            empty.
        pooled_height: Bins along y.
        pooled_width: Bins along x.
        spatial_scale: Map pixels per image pixel.
    """
    features = widened(input)
    rois = rois.to(features.dtype)
    start = rois[:, 1:3] * spatial_scale
    size = (rois[:, 3:] + 1) * spatial_scale - start
    height, width = input.shape[2:]
    left, right = _windows(start[:, 0], size[:, 0], pooled_width, width)
    top, bottom = _windows(start[:, 1], size[:, 1], pooled_height, height)
    shape = (len(rois), pooled_height, pooled_width)
    sides = [
        side.expand(shape)
        for side in (left[:, None], top[:, :, None], right[:, None], bottom[:, :, None])
    ]
    bins = torch.stack([rois[:, 0, None, None].expand(shape), *sides], dim=-1)
    empty = (sides[0] >= sides[2]) | (sides[1] >= sides[3]) | (size <= 0).any(1)[:, None, None]
    last = bins.new_tensor([0, 0, 0, 1, 1])  # torchvision's RoIs contain their last pixel, too
    pooled, places = torch.ops.torchvision.roi_pool(
        features.contiguous(), (bins - last).reshape(-1, 5), 1.0, 1, 1
    )
    for result, of_bins, nothing in ((output, pooled, 0), (argmax, places, -1)):
        by_roi = of_bins.reshape(*shape, input.shape[1]).permute(0, 3, 1, 2)
        result.copy_(by_roi.masked_fill(empty[:, None], nothing))


def _windows(start: Tensor, size: Tensor, bins: int, length: int) -> tuple[Tensor, Tensor]:
    """First pixel of each bin along an axis, and the first after it; (K, bins) each."""
    steps = torch.arange(bins + 1, device=start.device, dtype=start.dtype)
    edges = steps * (size / bins)[:, None] + start[:, None]
    return edges[:, :-1].floor().clamp(0, length), edges[:, 1:].ceil().clamp(0, length)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """The gradient of :func:`roi_pool_forward`, written into ``grad_input`` (B, C, H, W)."""
    _, channels, height, width = grad_input.shape
    image = rois[:, 0].long()[:, None]
    plane = image * channels + torch.arange(channels, device=rois.device)
    place = plane[:, :, None, None] * (height * width) + argmax.clamp(min=0)
    passed = widened(grad_output) * (argmax >= 0)
    gradient = passed.new_zeros(grad_input.numel())
    gradient.index_add_(0, place.flatten(), passed.flatten())
    grad_input.copy_(gradient.view_as(grad_input))
