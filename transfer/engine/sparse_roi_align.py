"""RoIAlign on the CPU as one sparse matrix product.

RoIAlign is linear in the feature map, and a bin's weights are the outer product of its weights
along y and along x. So it is a sparse matrix over the flattened channels-last map: one row a bin,
one column a pixel. Its transpose is the gradient, which torchvision's CPU kernel computes as a
serial scatter. The values are RoIAlign's own to rounding.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import scipy.sparse
import torch
from mmcv.ops import RoIAlign
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", module=__name__)


class SparseRoIAlign(RoIAlign):
    """mmcv's RoIAlign, as a sparse product on the CPU and as itself elsewhere."""

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        """Pool (K, C, bins, bins) from (B, C, H, W) features and (K, 5) RoIs."""
        if features.device.type != "cpu":
            return super().forward(features, rois)
        matrix = bin_weights(
            rois.float(),
            features.shape,
            self.output_size,
            self.spatial_scale,
            self.sampling_ratio,
            self.aligned,
        )
        return _Pool.apply(features, matrix, self.output_size)


@HOOKS.register_module()
class FastRoIAlign(Hook):
    """Exchange a model's RoIAlign layers for :class:`SparseRoIAlign` before anything runs."""

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Exchange them in place."""
        for parent in list(runner.model.modules()):
            for name, layer in parent.named_children():
                if type(layer) is RoIAlign and layer.pool_mode == "avg":
                    fast = SparseRoIAlign(
                        layer.output_size,
                        layer.spatial_scale,
                        layer.sampling_ratio,
                        layer.pool_mode,
                        layer.aligned,
                    )
                    setattr(parent, name, fast)


class _Pool(torch.autograd.Function):
    """The product with a matrix of bins, and with its transpose for the gradient."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, matrix: Bins, bins: tuple[int, int]) -> Tensor:
        ctx.matrix, ctx.shape, ctx.dtype = matrix, features.shape, features.dtype
        channels = features.shape[1]
        flat = features.float().permute(0, 2, 3, 1).reshape(-1, channels)
        pooled = matrix.times(flat).reshape(-1, *bins, channels)
        return pooled.permute(0, 3, 1, 2).to(features.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        batch, channels, height, width = ctx.shape
        flat = gradient.float().permute(0, 2, 3, 1).reshape(-1, channels)
        result = ctx.matrix.transposed_times(flat).reshape(batch, height, width, channels)
        return result.permute(0, 3, 1, 2).to(ctx.dtype), None, None


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
    shape: torch.Size | tuple[int, ...],
    bins: tuple[int, int],
    scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Bins:
    """The matrix of an RoIAlign.

    Args:
        rois: (K, 5), batch index and x1 y1 x2 y2 in image pixels.
        shape: (B, C, H, W) of the map.
        bins: Along y and x.
        scale: Map pixels an image pixel.
        sampling_ratio: Samples a bin and axis; 0 takes as many as the bin is wide.
        aligned: Whether the half-pixel shift is applied.

    Returns:
        Weights of K · bins bins over B · H · W pixels.
    """
    batch, _, height, width = shape
    count = len(rois)
    corners = rois[:, 1:] * scale - (0.5 if aligned else 0.0)
    sizes = corners[:, 2:] - corners[:, :2]
    if not aligned:  # mmcv 1.x: no RoI is smaller than a pixel
        sizes = sizes.clamp(min=1.0)
    first_y, along_y = _axis(corners[:, 1], sizes[:, 1], bins[0], height, sampling_ratio)
    first_x, along_x = _axis(corners[:, 0], sizes[:, 0], bins[1], width, sampling_ratio)
    values = along_y[:, :, None, :, None] * along_x[:, None, :, None, :]
    y = (first_y[..., None] + torch.arange(along_y.shape[2])).clamp(max=height - 1)
    x = (first_x[..., None] + torch.arange(along_x.shape[2])).clamp(max=width - 1)
    y = y + rois[:, 0].long()[:, None, None] * height
    columns = y[:, :, None, :, None] * width + x[:, None, :, None, :]
    touched = values != 0
    starts = touched.flatten(3).sum(dim=3).flatten().cumsum(0)
    return Bins(
        torch.cat([starts.new_zeros(1), starts]).int(),
        columns[touched].int(),
        values[touched],
        (count * bins[0] * bins[1], batch * height * width),
    )


def _axis(
    start: Tensor, size: Tensor, bins: int, length: int, sampling_ratio: int
) -> tuple[Tensor, Tensor]:
    """Weights of the pixels along one axis.

    Args:
        start: (K,) where each RoI begins, in map pixels.
        size: (K,) how long it is.
        bins: Bins along the axis.
        length: Pixels along the axis.
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
    # A sample beyond one pixel outside of the map counts as zero, one nearer is moved to the edge.
    counts = (number < samples) & (position >= -1) & (position <= length)
    position = position.clamp(min=0.0)
    low = position.long()
    at_edge = low >= length - 1
    low = low.clamp(max=length - 1)
    high = torch.where(at_edge, low, low + 1)
    share = torch.where(at_edge, 0.0, position - low)
    weight = counts / samples.clamp(min=1.0)
    first = torch.where(counts, low, length - 1).amin(dim=2)
    last = torch.where(counts, high, 0).amax(dim=2)
    extent = max(int((last - first).max()) + 1, 1) if len(start) else 1
    weights = torch.zeros(len(start), bins, extent)
    for pixel, part in ((low, 1 - share), (high, share)):
        place = (pixel - first[..., None]).clamp(0, extent - 1)
        weights.scatter_add_(2, place, weight * part)
    return first, weights
