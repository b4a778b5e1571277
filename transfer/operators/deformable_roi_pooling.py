"""Deformable RoI pooling, RoIAlign whose bins are shifted (arXiv 1703.06211)."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from transfer.operators.float_types import widened
from transfer.operators.recomputed import write_gradients


def deform_roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    output: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """The mean of each bin's samples, written into ``output``.

    Args:
        input: (B, C, H, W) feature map.
        rois: (K, 5), batch index and x1 y1 x2 y2 in image pixels.
        offset: (K, 2, pooled_height, pooled_width), the shift of each bin along x and y, in widths
            and heights of the RoI; or empty.
        output: (K, C, pooled_height, pooled_width), overwritten.
        pooled_height: Bins along y.
        pooled_width: Bins along x.
        spatial_scale: Map pixels per image pixel.
        sampling_ratio: Samples per bin and axis; 0 takes one per pixel of the bin.
        gamma: A factor for the shifts.
    """
    bins = (pooled_width, pooled_height)
    given = [widened(tensor) for tensor in _tensors(input, offset)]
    output.copy_(_pooled(rois, bins, spatial_scale, sampling_ratio, gamma, *given))


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> None:
    """The gradients of :func:`deform_roi_pool_forward`, written into ``grad_*``."""
    bins = (pooled_width, pooled_height)
    write_gradients(
        lambda *given: _pooled(rois, bins, spatial_scale, sampling_ratio, gamma, *given),
        _tensors(input, offset),
        grad_output,
        _tensors(grad_input, grad_offset),
    )


def _tensors(of_input: Tensor, of_offset: Tensor) -> list[Tensor]:
    return [of_input, of_offset] if of_offset.numel() else [of_input]


def _pooled(
    rois: Tensor,
    bins: tuple[int, int],
    scale: float,
    ratio: int,
    gamma: float,
    input: Tensor,
    offset: Tensor | None = None,
) -> Tensor:
    """All RoIs, pooled image by image; pairs are along x and y."""
    rois = rois.to(input.dtype)
    corners = rois[:, 1:].unflatten(1, (2, 2)) * scale - 0.5
    start, extent = corners[:, 0], corners[:, 1] - corners[:, 0]
    side = extent / extent.new_tensor(bins)
    samples = torch.full_like(side, ratio) if ratio > 0 else side.ceil().clamp(min=0)
    steps = [torch.arange(count, device=rois.device, dtype=rois.dtype) for count in bins]
    index = torch.stack(torch.meshgrid(*steps, indexing="xy"))  # (2, bins along y, along x)
    first = start[..., None, None] + index * side[..., None, None]
    if offset is not None:
        first = first + gamma * extent[..., None, None] * offset
    total = input.new_zeros(len(rois), input.shape[1], bins[1], bins[0]) + input.sum() * 0
    most = [max(counts, default=0) for counts in samples.T.long().tolist()]
    owners = [(rois[:, 0] == image).nonzero()[:, 0] for image in range(len(input))]
    for step in product(*map(range, most)):
        part = first.new_tensor(step)
        points = first + ((part + 0.5) * side / samples)[..., None, None]
        counted = (part < samples).all(dim=1)
        for image, owner in enumerate(owners):
            found = _bilinear(input[image], points[owner]) * counted[owner, None, None, None]
            total = total.index_add(0, owner, found)
    return total / samples.prod(dim=1).clamp(min=1)[:, None, None, None]


def _bilinear(plane: Tensor, points: Tensor) -> Tensor:
    """Samples (K, C, h, w) of a map (C, H, W) at (K, 2, h, w), x and y in pixels.

    Samples within a pixel of the map have the value at its edge; those farther away are 0.
    """
    size = points.new_tensor([plane.shape[2], plane.shape[1]])[:, None, None]
    grid = ((2 * points + 1) / size - 1).permute(0, 2, 3, 1).flatten(0, 1)[None]
    sampled = functional.grid_sample(plane[None], grid, padding_mode="border", align_corners=False)[
        0
    ].unflatten(1, points[:, 0].shape[:2])
    near = ((points >= -1) & (points <= size)).all(dim=1)
    return sampled.transpose(0, 1) * near[:, None]
