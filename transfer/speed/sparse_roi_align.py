"""RoIAlign on the CPU as one sparse matrix product.

RoIAlign is linear in the feature map, and a bin's weights are the outer product of its weights
along y and along x. So it is a sparse matrix over the flattened channels-last maps of all levels at
once, with one row per bin and one column per pixel. Its transpose is the gradient, which
torchvision's CPU kernel computes as a serial scatter. The values equal RoIAlign's up to rounding.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import scipy.sparse
import torch
from mmcv.ops import RoIAlign
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor

from transfer.speed.part import Part, known

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", module=__name__)


class SparseRoIExtraction(Part):
    """Replaces the pooling of a model's RoI extractors; on a GPU, only makes RoIs exact."""

    def install(self, runner: Any) -> str:
        """Replace the extractors' pooling."""
        extractors = known(runner.model.modules(), SingleRoIExtractor, _unlike)
        for extractor in extractors:
            extractor.forward = SparseRoIExtractor(extractor)
        return f"RoI extractors: {len(extractors)}"


def _unlike(extractor: SingleRoIExtractor) -> str:
    """Why an extractor does not average all maps alike; empty if it does."""
    layers = extractor.roi_layers
    averages = all(type(layer) is RoIAlign and layer.pool_mode == "avg" for layer in layers)
    if not averages:
        return "RoIs are not pooled by RoIAlign's average"
    settings = {(layer.output_size, layer.sampling_ratio, layer.aligned) for layer in layers}
    return "" if len(settings) == 1 else "its levels have different pooling settings"


class SparseRoIExtractor:
    """The ``forward`` of an RoI extractor, with one product for the RoIs of all maps.

    Under autocast to bfloat16 the RoIs keep float32, on every device; the toolbox rounds them, by
    up to half a pixel at 256 pixels from the corner.

    Args:
        extractor: The replaced extractor, which still assigns RoIs to maps.
    """

    def __init__(self, extractor: SingleRoIExtractor) -> None:
        self.extractor = extractor

    def __call__(
        self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None = None
    ) -> Tensor:
        """Pool (K, C, bins, bins) from (B, C, H, W) maps and (K, 5) RoIs."""
        if rois.device.type != "cpu":
            return self._of_toolbox(feats, rois, roi_scale_factor)
        layers = self.extractor.roi_layers
        rois = rois.float()
        levels = self.extractor.map_roi_levels(rois, len(feats))
        if roi_scale_factor is not None:
            rois = self.extractor.roi_rescale(rois, roi_scale_factor)
        matrix = bin_weights(
            rois,
            levels=levels,
            shapes=[feature.shape for feature in feats],
            bins=layers[0].output_size,
            scales=[layer.spatial_scale for layer in layers],
            sampling_ratio=layers[0].sampling_ratio,
            aligned=layers[0].aligned,
        )
        return _Pool.apply(matrix, layers[0].output_size, *feats)

    def order(self, rois: Tensor, feats: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
        """Order RoIs by level on their own device, so that nothing waits for a GPU's maps.

        Args:
            rois: (K, 5), on the host.
            feats: The maps.

        Returns:
            The order (K,), and the number of RoIs of each map.
        """
        rounded = rois.to(_wide(feats[0].dtype))
        levels = self.extractor.map_roi_levels(rounded, len(feats))
        return levels.argsort(stable=True), levels.bincount(minlength=len(feats)).tolist()

    def level_by_level(
        self, feats: Sequence[Tensor], rois: Tensor, counts: Sequence[int]
    ) -> Tensor:
        """Pool (K, C, bins, bins) with the toolbox's layers, for RoIs in :meth:`order`."""
        dtype = feats[0].dtype
        wide = _wide(dtype)
        layers, parts = self.extractor.roi_layers, rois.to(wide).split(counts)
        pooled = [
            layer(each.to(wide), part)
            for layer, each, part in zip(layers, feats, parts, strict=True)
            if len(part)
        ]
        return torch.cat(pooled).to(dtype)

    def _of_toolbox(
        self, feats: tuple[Tensor, ...], rois: Tensor, roi_scale_factor: float | None
    ) -> Tensor:
        """The toolbox's own pooling, kept from bfloat16, in which it would round the RoIs."""
        dtype = feats[0].dtype
        wide = tuple(each.to(_wide(dtype)) for each in feats)
        pooled = SingleRoIExtractor.forward(self.extractor, wide, rois, roi_scale_factor)
        return pooled.to(dtype)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The type in which maps are pooled; the operator uses float32 instead of bfloat16."""
    return torch.float32 if dtype is torch.bfloat16 else dtype


class _Pool(torch.autograd.Function):
    """The product with a matrix of bins, and with its transpose for the gradient."""

    @staticmethod
    def forward(ctx: Any, matrix: Bins, bins: tuple[int, int], *maps: Tensor) -> Tensor:
        ctx.matrix = matrix
        ctx.maps_of = [(each.shape, each.dtype) for each in maps]
        channels = maps[0].shape[1]
        flat = torch.empty(matrix.shape[1], channels)
        starts = itertools.accumulate((each.numel() // channels for each in maps), initial=0)
        for start, each in zip(starts, maps, strict=False):
            images, _, height, width = each.shape
            place = flat[start : start + images * height * width]
            place.view(images, height, width, channels).copy_(each.permute(0, 2, 3, 1))
        pooled = matrix.times(flat).reshape(-1, *bins, channels)
        pooled = pooled.permute(0, 3, 1, 2).to(maps[0].dtype)
        return pooled.detach()  # later code could not change a view in place

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        # Rearranged first, to one block per RoI, and widened then, which takes half the time.
        flat = gradient.flatten(2).transpose(1, 2).contiguous().float().flatten(0, 1)
        places = [shape[0] * shape[2] * shape[3] for shape, _ in ctx.maps_of]
        parts = ctx.matrix.transposed().times(flat).split(places)
        maps = (
            part.reshape(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2).to(dtype)
            for part, (shape, dtype) in zip(parts, ctx.maps_of, strict=True)
        )
        return None, None, *maps


@dataclass(frozen=True)
class Bins:
    """Weights of bins over pixels, by rows; or of pixels over bins.

    Attributes:
        starts: (bins + 1,), where each row's entries start.
        columns: (entries,), each entry's column.
        weights: (entries,), float32.
        shape: Rows and columns.
    """

    starts: Tensor
    columns: Tensor
    weights: Tensor
    shape: tuple[int, int]

    def times(self, flat: Tensor) -> Tensor:
        """(rows, C) of (columns, C); MKL's product, on all cores."""
        matrix = torch.sparse_csr_tensor(
            self.starts, self.columns, self.weights, self.shape, check_invariants=False
        )
        product = flat.new_empty(self.shape[0], flat.shape[1])
        with torch.autocast("cpu", enabled=False):  # the sparse product has float32 only
            # "matrix @ flat" would write zeros, and copy them, before it writes the product.
            return product.addmm_(matrix, flat, beta=0)

    def transposed(self) -> Bins:
        """The transpose; SciPy counts the entries into place, where torch would sort them."""
        entries = (self.weights.numpy(), self.columns.numpy(), self.starts.numpy())
        by_pixel = scipy.sparse.csr_matrix(entries, shape=self.shape).tocsc()
        starts, bins, weights = map(
            torch.from_numpy, (by_pixel.indptr, by_pixel.indices, by_pixel.data)
        )
        return Bins(starts, bins, weights, (self.shape[1], self.shape[0]))


@torch.no_grad()
def bin_weights(
    rois: Tensor,
    *,
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
        scales: Map pixels per image pixel, of each map.
        sampling_ratio: Samples per bin and axis; 0 takes one per pixel of the bin.
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
    y = _axis(
        corners[:, 1], size=sizes[:, 1], bins=bins[0], length=height, sampling_ratio=sampling_ratio
    )
    x = _axis(
        corners[:, 0], size=sizes[:, 0], bins=bins[1], length=width, sampling_ratio=sampling_ratio
    )
    row_of_map = (before + rois[:, 0].long() * height * width)[y.roi] + y.pixel * width[y.roi]
    # A bin's entries are all pairs of its pixels along y and along x.
    every = torch.arange(len(rois) * bins[0] * bins[1])
    bin_y = every // bins[1]
    bin_x = bin_y // bins[0] * bins[1] + every % bins[1]
    across = x.entries[bin_x]
    entries = y.entries[bin_y] * across
    ends = entries.cumsum(0)
    of = torch.repeat_interleave(entries)  # each entry's bin
    number = torch.arange(len(of)) - (ends - entries)[of]
    down = number // across[of]
    at_y = y.first[bin_y][of] + down
    at_x = x.first[bin_x][of] + number - down * across[of]
    return Bins(
        torch.cat([ends.new_zeros(1), ends]).int(),
        (row_of_map[at_y] + x.pixel[at_x]).int(),
        y.weight[at_y] * x.weight[at_x],
        (len(every), sum(pixels)),
    )


class _Axis(NamedTuple):
    """The pixels that bins touch along one axis, as entries ordered by bin.

    Attributes:
        entries: (K · bins,), number of entries of each bin.
        first: (K · bins,), index of the first.
        roi: RoI of each entry.
        pixel: Pixel of each entry.
        weight: Weight of each entry, float32, not zero.
    """

    entries: Tensor
    first: Tensor
    roi: Tensor
    pixel: Tensor
    weight: Tensor


def _axis(start: Tensor, *, size: Tensor, bins: int, length: Tensor, sampling_ratio: int) -> _Axis:
    """Weights of the pixels along one axis.

    Args:
        start: (K,) start of each RoI, in map pixels.
        size: (K,) its length.
        bins: Bins along the axis.
        length: (K,) pixels of its map along the axis.
        sampling_ratio: As in :func:`bin_weights`.
    """
    step = size / bins
    samples = torch.full_like(step, sampling_ratio) if sampling_ratio > 0 else step.ceil()
    samples = samples[:, None, None]  # none in an RoI without extent, which pools to zero
    number = torch.arange(max(int(samples.max()), 1) if len(start) else 1)
    position = (
        start[:, None, None]
        + torch.arange(bins)[:, None] * step[:, None, None]
        + (number + 0.5) * step[:, None, None] / samples.clamp(min=1.0)
    )
    end = length[:, None, None]
    # A sample over one pixel outside the map counts as zero; a nearer one moves to the edge.
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
    count = weights.count_nonzero(dim=2).flatten()
    roi, of_roi, place = weights.nonzero(as_tuple=True)
    pixel = first[roi, of_roi] + place
    return _Axis(
        entries=count,
        first=count.cumsum(0) - count,
        roi=roi,
        pixel=pixel,
        weight=weights[roi, of_roi, place],
    )
