"""Depthwise convolutions on the CPU with faster gradients.

oneDNN has fast code for a depthwise convolution without dilation, and for the gradient of a 3 × 3
kernel. Other gradients take up to fifteen times as long as the convolution. This module therefore
computes

- a convolution with dilation d as one without dilation, on d × d interleaved maps,
- the gradient of a 5 × 5 or 7 × 7 kernel as the gradients of the 3 × 3 kernels that cover it, and
- on small maps, that gradient from products of all pairs of positions, one matrix product for each
  channel: each element of the kernel is the sum of the pairs at its distance.

Values equal a plain convolution's up to rounding.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import torch
from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from backbones.runtime.precision import computed_in
from transfer.speed.part import Inactive, Part, computed_dtype, require_cpu

_COVER = {3: (0,), 5: (0, 2), 7: (0, 3, 4)}
"""Along one side of a kernel, where the 3 × 3 kernels that cover it start."""

_POSITIONS = 144
"""Most positions of a map for which products of all pairs are faster than 3 × 3 kernels."""

_PAIRS = 1 << 21
"""Most products of pairs at once, which fit third-level caches."""


class DepthwiseGradients(Part):
    """Computes a model's depthwise convolutions this way on the CPU, in float32.

    Kernels of 3 × 3 without dilation, other sizes, and dilation with a stride stay unchanged.
    """

    def install(self, runner: Any) -> str:
        """Replace the forward pass of the layers, and with it the backward one."""
        require_cpu(runner)
        layers = [layer for layer in runner.model.modules() if _is_fit(layer)]
        if not layers:
            raise Inactive("the model has no depthwise convolution that is dilated, 5 × 5 or 7 × 7")
        if (dtype := computed_dtype(runner)) is not torch.float32:
            raise Inactive(f"it applies only to float32, and this run computes in {dtype}")
        for layer in layers:
            layer.forward = partial(_forward, layer)
        return f"depthwise convolutions: {len(layers)}"


def _is_fit(layer: nn.Module) -> bool:
    """Whether a layer is a depthwise convolution with a slow gradient."""
    return (
        isinstance(layer, nn.Conv2d)
        and type(layer) in (nn.Conv2d, Conv2dSame)
        and layer.groups == layer.in_channels == layer.out_channels
        and len({*layer.kernel_size}) == len({*layer.stride}) == len({*layer.dilation}) == 1
        and layer.kernel_size[0] in _COVER
        and (_is_undilated_and_large(layer) or _is_dilated_and_keeps_size(layer))
        and layer.padding_mode == "zeros"
        and layer.weight.dtype is torch.float32
    )


def _is_undilated_and_large(layer: nn.Conv2d) -> bool:
    return (
        layer.dilation[0] == 1
        and layer.kernel_size[0] > 3
        and (type(layer) is Conv2dSame or layer.padding == (layer.kernel_size[0] // 2,) * 2)
    )


def _is_dilated_and_keeps_size(layer: nn.Conv2d) -> bool:
    return (
        type(layer) is nn.Conv2d
        and layer.dilation[0] > 1
        and layer.stride[0] == 1
        and layer.padding == (layer.dilation[0] * (layer.kernel_size[0] // 2),) * 2
    )


def _forward(layer: nn.Conv2d, maps: Tensor) -> Tensor:
    """A layer's ``forward``."""
    is_plain = maps.device.type == "cpu" and maps.dim() == 4 and maps.numel() > 0
    if not is_plain or computed_in(maps) is not torch.float32:
        return type(layer).forward(layer, maps)
    padding = layer.kernel_size[0] // 2
    if type(layer) is Conv2dSame:
        maps, padding = pad_same(maps, [*layer.kernel_size], [*layer.stride]), 0
    out = convolve(
        maps, layer.weight, stride=layer.stride[0], padding=padding, dilation=layer.dilation[0]
    )
    return out if layer.bias is None else out + layer.bias[:, None, None]


def convolve(
    maps: Tensor, weight: Tensor, *, stride: int, padding: int, dilation: int = 1
) -> Tensor:
    """A depthwise convolution.

    Args:
        maps: (B, C, H, W) in float32 or float64, no dimension is 0.
        weight: (C, 1, k, k) in the same precision, with k of 3, 5 or 7.
        stride: Distance of the outputs; 1 with a dilation.
        padding: Zeros around the maps; with a dilation, around each of the interleaved maps,
            where it must be k // 2.
        dilation: Distance of the kernel's elements.

    Returns:
        (B, C, H', W'); it may be changed in place.
    """
    if dilation == 1:
        return _Convolution.apply(maps, weight, stride, padding)
    parts = _Convolution.apply(_interleaved(maps, dilation), weight, stride, padding)
    return _joined(parts, dilation)[:, :, : maps.shape[2], : maps.shape[3]].contiguous()


def _interleaved(maps: Tensor, step: int) -> Tensor:
    """Every ``step``-th row and column, from each start: (B · step², C, rows, columns)."""
    images, channels, height, width = maps.shape
    rows, columns = -(-height // step), -(-width // step)
    maps = functional.pad(maps, (0, step * columns - width, 0, step * rows - height))
    parts = maps.view(images, channels, rows, step, columns, step).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(images * step**2, channels, rows, columns)


def _joined(parts: Tensor, step: int) -> Tensor:
    """The reverse of :func:`_interleaved`, with the zeros after the maps' ends."""
    count, channels, rows, columns = parts.shape
    parts = parts.view(count // step**2, step, step, channels, rows, columns)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(-1, channels, rows * step, columns * step)


class _Convolution(torch.autograd.Function):
    """A depthwise convolution without dilation."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(maps, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight = ctx.saved_tensors
        of_maps = of_weight = None
        if ctx.needs_input_grad[0]:
            of_maps, _ = _gradients(gradient, maps, weight, ctx.stride, ctx.padding, [True, False])
        if ctx.needs_input_grad[1]:
            of_weight = _of_weight(gradient, maps, weight, ctx.stride, ctx.padding)
        return of_maps, of_weight, None, None


def _of_weight(gradient: Tensor, maps: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """The gradient of a weight."""
    side = weight.shape[2]
    if side == 3:
        return _gradients(gradient, maps, weight, stride, padding, [False, True])[1]
    is_small = gradient.shape[2:].numel() <= _POSITIONS
    if is_small and stride == 1 and padding == side // 2:
        return _of_weight_by_pairs(gradient, maps, side)
    height, width = ((size - 1) * stride + 3 for size in gradient.shape[2:])
    maps = functional.pad(maps, (padding,) * 4)
    out, kernel = torch.empty_like(weight), weight[:, :, :3, :3].contiguous()
    for y in _COVER[side]:
        for x in _COVER[side]:
            near = maps[:, :, y : y + height, x : x + width].contiguous()
            _, part = _gradients(gradient, near, kernel, stride, 0, [False, True])
            out[:, :, y : y + 3, x : x + 3] = part
    return out


def _of_weight_by_pairs(gradient: Tensor, maps: Tensor, side: int) -> Tensor:
    """The gradient of a weight of stride 1, from products of all pairs of positions.

    Args:
        gradient: (B, C, H, W).
        maps: (B, C, H, W), padded with zeros by half a kernel.
        side: Side of the kernel.

    Returns:
        (C, 1, side, side).
    """
    images, channels, height, width = maps.shape
    positions = height * width
    outer = gradient.permute(1, 2, 3, 0).reshape(channels, positions, images)
    inner = maps.permute(1, 0, 2, 3).reshape(channels, images, positions)
    sums = _pairs(height, width, side).to(maps.dtype)
    at_once = max(1, _PAIRS // positions**2)
    parts = [
        torch.bmm(some, others).flatten(1) @ sums
        for some, others in zip(outer.split(at_once), inner.split(at_once), strict=True)
    ]
    return torch.cat(parts).view(channels, 1, side, side)


@lru_cache(maxsize=8)
def _pairs(height: int, width: int, side: int) -> Tensor:
    """The pairs of positions, first of the output, that each element of a kernel joins.

    Returns:
        (H · W · H · W, side · side), 1 where it does and 0 elsewhere.
    """
    rows = torch.arange(height).repeat_interleave(width)
    columns = torch.arange(width).repeat(height)
    down = rows - rows[:, None] + side // 2
    right = columns - columns[:, None] + side // 2
    inside = (down >= 0) & (down < side) & (right >= 0) & (right < side)
    element = torch.where(inside, down * side + right, side**2).flatten()
    return functional.one_hot(element, side**2 + 1)[:, :-1].float()


def _gradients(
    gradient: Tensor, maps: Tensor, weight: Tensor, stride: int, padding: int, wanted: list[bool]
) -> tuple[Tensor, Tensor]:
    """The plain gradients of maps and weight, as far as wanted."""
    of_maps, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient,
        maps,
        weight,
        None,
        [stride, stride],
        [padding, padding],
        [1, 1],
        False,
        [0, 0],
        len(weight),
        [*wanted, False],
    )
    return of_maps, of_weight
