"""RoIAlign on the CPU as one sparse matrix product.

RoIAlign is linear in the feature map, and a bin's weights are the outer product of its weights
along y and along x. So it is a sparse matrix over the flattened channels-last maps, one row a bin,
one column a pixel: of all maps of a pyramid at once. Its transpose is the gradient, which
torchvision's CPU kernel computes as a serial scatter. The values are RoIAlign's own to rounding.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import scipy.sparse
import torch
from mmcv.ops import RoIAlign
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", module=__name__)


@HOOKS.register_module()
class SparseRoIExtraction(Hook):
    """Let a model's RoI extractors pool here, on the CPU; elsewhere they stay as they are."""

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Put the pooling in the place of the extractors' own."""
        for extractor in runner.model.modules():
            if type(extractor) is SingleRoIExtractor and _is_plain(extractor):
                extractor.forward = SparseRoIExtractor(extractor)


def _is_plain(extractor: SingleRoIExtractor) -> bool:
    """Whether an extractor averages, and pools all maps alike."""
    layers = extractor.roi_layers
    told = {(layer.output_size, layer.sampling_ratio, layer.aligned) for layer in layers}
    return len(told) == 1 and all(
        type(layer) is RoIAlign and layer.pool_mode == "avg" for layer in layers
    )


class SparseRoIExtractor:
    """The ``forward`` of an RoI extractor, with one product for the RoIs of all maps.

    Under autocast the RoIs keep float32; the toolbox rounds them to bfloat16, by up to half a
    pixel at 256 pixels from the corner.

    Args:
        extractor: What it stands in for; it goes on telling which map an RoI belongs to.
    """

    def __init__(self, extractor: SingleRoIExtractor) -> None:
        self.extractor = extractor

    def __call__(
        self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Pool (K, C, bins, bins) from (B, C, H, W) maps and (K, 5) RoIs."""
        if rois.device.type != "cpu":
            return SingleRoIExtractor.forward(self.extractor, feats, rois, roi_scale_factor)
        layers = self.extractor.roi_layers
        rois = rois.float()
        levels = self.extractor.map_roi_levels(rois, len(feats))
        if roi_scale_factor is not None:
            rois = self.extractor.roi_rescale(rois, roi_scale_factor)
        matrix = bin_weights(
            rois,
            levels,
            [feature.shape for feature in feats],
            layers[0].output_size,
            [layer.spatial_scale for layer in layers],
            layers[0].sampling_ratio,
            layers[0].aligned,
        )
        return _Pool.apply(matrix, layers[0].output_size, *feats)


class _Pool(torch.autograd.Function):
    """The product with a matrix of bins, and with its transpose for the gradient."""

    @staticmethod
    def forward(ctx: Any, matrix: Bins, bins: tuple[int, int], *maps: Tensor) -> Tensor:
        ctx.matrix = matrix
        ctx.told = [(each.shape, each.dtype) for each in maps]
        channels = maps[0].shape[1]
        flat = torch.cat([each.permute(0, 2, 3, 1).reshape(-1, channels).float() for each in maps])
        pooled = matrix.times(flat).reshape(-1, *bins, channels)
        return pooled.permute(0, 3, 1, 2).to(maps[0].dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        flat = gradient.float().permute(0, 2, 3, 1).reshape(-1, gradient.shape[1])
        places = [shape[0] * shape[2] * shape[3] for shape, _ in ctx.told]
        parts = ctx.matrix.transposed_times(flat).split(places)
        maps = (
            part.reshape(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2).to(dtype)
            for part, (shape, dtype) in zip(parts, ctx.told, strict=True)
        )
        return None, None, *maps


@dataclass(frozen=True)
class Bins:
    """Weights of bins over pixels, by rows.

    Attributes:
        starts: (bins + 1,), where each bin's entries start.
        pixels: (entries,), each entry's column.
        weights: (entries,), float32.
        shape: Bins and pixels.
    """

    starts: Tensor
    pixels: Tensor
    weights: Tensor
    shape: tuple[int, int]

    def times(self, flat: Tensor) -> Tensor:
        """(bins, C) of (pixels, C); MKL's product, on all cores."""
        matrix = torch.sparse_csr_tensor(
            self.starts, self.pixels, self.weights, self.shape, check_invariants=False
        )
        with torch.autocast("cpu", enabled=False):  # the sparse product has float32 only
            return matrix @ flat

    def transposed_times(self, flat: Tensor) -> Tensor:
        """(pixels, C) of (bins, C); SciPy's, since torch would sort all entries first."""
        entries = (self.weights.numpy(), self.pixels.numpy(), self.starts.numpy())
        matrix = scipy.sparse.csr_matrix(entries, shape=self.shape)
        return torch.from_numpy(matrix.T @ flat.numpy())


@torch.no_grad()
def bin_weights(
    rois: Tensor,
    levels: Tensor,
    shapes: Sequence[tuple[int, ...]],
    bins: tuple[int, int],
    scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
) -> Bins:
    """The matrix of an RoIAlign over several maps.

    Args:
        rois: (K, 5), batch index and x1 y1 x2 y2 in image pixels.
        levels: (K,), the map that each is pooled from.
        shapes: (B, C, H, W) of each map.
        bins: Along y and x.
        scales: Map pixels an image pixel, of each map.
        sampling_ratio: Samples a bin and axis; 0 takes as many as the bin is wide.
        aligned: Whether the half-pixel shift is applied.

    Returns:
        Weights of K · bins bins over the pixels of all maps, B · H · W each, one after another.
    """
    pixels = [shape[0] * shape[2] * shape[3] for shape in shapes]
    height, width = (torch.tensor([shape[axis] for shape in shapes])[levels] for axis in (2, 3))
    before = torch.tensor([0, *itertools.accumulate(pixels)])[levels]
    corners = rois[:, 1:] * torch.tensor(scales)[levels][:, None] - (0.5 if aligned else 0.0)
    sizes = corners[:, 2:] - corners[:, :2]
    if not aligned:  # mmcv 1.x: no RoI is smaller than a pixel
        sizes = sizes.clamp(min=1.0)
    first_y, along_y = _axis(corners[:, 1], sizes[:, 1], bins[0], height, sampling_ratio)
    first_x, along_x = _axis(corners[:, 0], sizes[:, 0], bins[1], width, sampling_ratio)
    y = first_y[..., None] + torch.arange(along_y.shape[2])
    x = first_x[..., None] + torch.arange(along_x.shape[2])
    start_of_y = (before + rois[:, 0].long() * height * width)[:, None, None]
    start_of_y = start_of_y + y * width[:, None, None]
    touched = (along_y != 0)[:, :, None, :, None] & (along_x != 0)[:, None, :, None, :]
    weights = (along_y[:, :, None, :, None] * along_x[:, None, :, None, :])[touched]
    columns = (start_of_y[:, :, None, :, None] + x[:, None, :, None, :])[touched]
    entries = (along_y != 0).sum(dim=2)[:, :, None] * (along_x != 0).sum(dim=2)[:, None, :]
    starts = entries.flatten().cumsum(0)
    return Bins(
        torch.cat([starts.new_zeros(1), starts]).int(),
        columns.int(),
        weights,
        (len(rois) * bins[0] * bins[1], sum(pixels)),
    )


def _axis(
    start: Tensor, size: Tensor, bins: int, length: Tensor, sampling_ratio: int
) -> tuple[Tensor, Tensor]:
    """Weights of the pixels along one axis.

    Args:
        start: (K,) where each RoI begins, in map pixels.
        size: (K,) how long it is.
        bins: Bins along the axis.
        length: (K,) pixels of its map along the axis.
        sampling_ratio: As in :func:`bin_weights`.

    Returns:
        The first pixel that each bin touches, (K, bins), and the weights of the pixels from there
        on, (K, bins, M), zero where a bin touches fewer than M.
    """
    step = size / bins
    samples = torch.full_like(step, sampling_ratio) if sampling_ratio > 0 else step.ceil()
    samples = samples[:, None, None]  # none at all in an RoI of no extent, which pools to zero
    number = torch.arange(max(int(samples.max()), 1) if len(start) else 1)
    position = (
        start[:, None, None]
        + torch.arange(bins)[:, None] * step[:, None, None]
        + (number + 0.5) * step[:, None, None] / samples.clamp(min=1.0)
    )
    end = length[:, None, None]
    # A sample beyond one pixel outside of the map counts as zero, one nearer is moved to the edge.
    counts = (number < samples) & (position >= -1) & (position <= end)
    position = position.clamp(min=0.0)
    low = position.long()
    at_edge = low >= end - 1
    low = torch.minimum(low, end - 1)
    high = torch.where(at_edge, low, low + 1)
    share = torch.where(at_edge, 0.0, position - low)
    weight = counts / samples.clamp(min=1.0)
    first = torch.where(counts, low, end - 1).amin(dim=2)
    last = torch.where(counts, high, 0).amax(dim=2)
    extent = max(int((last - first).max()) + 1, 1) if len(start) else 1
    weights = torch.zeros(len(start), bins, extent)
    for pixel, part in ((low, 1 - share), (high, share)):
        place = (pixel - first[..., None]).clamp(0, extent - 1)
        weights.scatter_add_(2, place, weight * part)
    return first, weights
