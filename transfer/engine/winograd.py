"""3 × 3 convolutions on the CPU, and their gradients, with 16 multiplications instead of 36.

Winograd's minimal filtering F(2 × 2, 3 × 3) in Lavin's and Gray's form ("Fast Algorithms for
Convolutional Neural Networks", CVPR 2016, section 4.1): a tile y of 2 × 2 outputs is made of the
4 × 4 inputs d around it and the kernel g by

    y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A,

and ⊙ is, over all tiles and channels, 16 matrix products. The gradient of the input is such a
convolution itself, with each kernel turned by half a turn. That of the kernel is, by transposing,
Gᵀ [Σ (A dy Aᵀ) ⊙ (Bᵀ d B)] G. A dilation of n is n × n convolutions of interleaved maps.

In float32 the values are a convolution's own to rounding. In bfloat16 tiles and products are
rounded too: the error is two to three times that of a plain convolution in bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from backbones.hardware import cpu_flags

_CHANNELS = 256
"""Fewer input or output channels, and the transforms cost what the products save."""

_POSITIONS = 1600
"""Fewer positions in a batch, and the kernels' transform does."""

_SAVED = 1.5
"""The least ratio of multiplications: maps that dilated tiles cover badly stay as they are."""

_STRIP = 16 << 20
"""Bytes of the transformed maps that are worked on at a time, which third-level caches hold."""

_G = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]])
_KERNEL = torch.kron(_G, _G)
"""(16, 9): G g Gᵀ of a flat kernel."""

_FROM_PRODUCTS = torch.kron(*[torch.tensor([1.0, 1.0, 1.0, -1.0])[:, None] * _G] * 2).T
"""(9, 16): back to a flat kernel; with the signs that :func:`_gradient_transform` leaves out."""


@HOOKS.register_module()
class WinogradConvolutions(Hook):
    """Let a model's 3 × 3 convolutions be computed so, on the CPU.

    Those with a stride, groups or few channels stay as they are; so do all that compute in bfloat16
    on a CPU with AMX, which multiplies faster than memory could bring what these transforms need.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Put it in the place of the layers' own."""
        for layer in runner.model.modules():
            if _is_fit(layer):
                layer.forward = partial(_forward, layer)


def _is_fit(layer: nn.Module) -> bool:
    """Whether a layer is a plain 3 × 3 convolution of many channels that keeps the maps' size."""
    return (
        type(layer) is nn.Conv2d
        and layer.kernel_size == (3, 3)
        and layer.stride == (1, 1)
        and layer.padding == layer.dilation
        and layer.dilation[0] == layer.dilation[1]
        and layer.padding_mode == "zeros"
        and layer.groups == 1
        and min(layer.in_channels, layer.out_channels) >= _CHANNELS
        and layer.weight.dtype is torch.float32
    )


def _forward(layer: nn.Conv2d, maps: Tensor) -> Tensor:
    """A layer's ``forward``."""
    dtype, dilation = _computed_in(maps), layer.dilation[0]
    if not (_pays_in(dtype) and _pays_on(maps, dilation)):
        return nn.Conv2d.forward(layer, maps)
    return convolve(maps.to(dtype), layer.weight, layer.bias, dilation)


def _computed_in(maps: Tensor) -> torch.dtype:
    """The precision of a convolution; autocast lowers all but float64."""
    if torch.is_autocast_enabled("cpu") and maps.dtype is not torch.float64:
        return torch.get_autocast_dtype("cpu")
    return maps.dtype


def _pays_in(dtype: torch.dtype) -> bool:
    if dtype is torch.bfloat16:
        return "amx_bf16" not in cpu_flags()
    return dtype is torch.float32


def _pays_on(maps: Tensor, dilation: int) -> bool:
    if maps.device.type != "cpu" or maps.dim() != 4:
        return False
    images, _, height, width = maps.shape
    tiles = _Tiles.of(images, height, width, dilation)
    covered = 4 * tiles.rows * tiles.columns * dilation**2
    return images * height * width >= _POSITIONS and 9 * height * width >= _SAVED * 4 * covered


def convolve(maps: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """A 3 × 3 convolution of stride 1 that keeps the maps' size.

    Args:
        maps: (B, C, H, W), none of them 0, in the precision that is computed in.
        weight: (F, C, 3, 3); it is transformed in its own precision, then rounded to the maps'.
        bias: (F,), or None.
        dilation: Distance of the kernel's elements, and the zeros around the maps.

    Returns:
        (B, F, H, W), laid out channels-last; it may be changed in place.
    """
    return _Convolution.apply(maps, weight, bias, dilation)


class _Convolution(torch.autograd.Function):
    @staticmethod
    @torch.autocast("cpu", enabled=False)
    def forward(
        ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor | None, dilation: int
    ) -> Tensor:
        inner = _channels_inside(maps)
        kernels = _transformed(weight).to(maps.dtype)
        ctx.save_for_backward(inner, kernels)
        ctx.dilation, ctx.dtype = dilation, weight.dtype
        output = _apply(inner, kernels.transpose(1, 2), dilation, bias).permute(0, 3, 1, 2)
        return output.detach()  # a view could not be changed in place by what follows

    @staticmethod
    @once_differentiable
    @torch.autocast("cpu", enabled=False)
    def backward(  # type: ignore[override]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        maps, kernels = ctx.saved_tensors
        inner = _channels_inside(gradient)
        of_maps = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_maps = _apply(inner, kernels, ctx.dilation, turned=True).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            of_weight = _of_weight(maps, inner, ctx.dilation).to(ctx.dtype)
        if ctx.needs_input_grad[2]:
            of_bias = inner.sum(dim=(0, 1, 2), dtype=ctx.dtype)
        return of_maps, of_weight, of_bias, None


def _channels_inside(maps: Tensor) -> Tensor:
    """(B, H, W, C) of (B, C, H, W)."""
    return maps.permute(0, 2, 3, 1).contiguous()


def _transformed(weight: Tensor) -> Tensor:
    """G g Gᵀ: (16, F, C) of (F, C, 3, 3)."""
    filters, channels = weight.shape[:2]
    flat = weight.permute(2, 3, 0, 1).reshape(9, filters * channels)
    return (_KERNEL.to(weight.dtype) @ flat).view(16, filters, channels)


def _apply(
    maps: Tensor,
    kernels: Tensor,
    dilation: int,
    bias: Tensor | None = None,
    turned: bool = False,
) -> Tensor:
    """The convolution.

    Args:
        maps: (B, H, W, C).
        kernels: (16, C, F), transformed.
        dilation: As in :func:`convolve`.
        bias: (F,), or None.
        turned: Whether to apply the kernels turned by half a turn.

    Returns:
        (B, H, W, F).
    """
    images, height, width, channels = maps.shape
    filters = kernels.shape[2]
    tiles = _Tiles.of(images, height, width, dilation)
    order = [3, 1, 2, 0] if turned else [0, 1, 2, 3]  # to turn a kernel swaps its outer elements
    bordered = tiles.bordered(maps)
    whole = maps.new_empty(images, tiles.rows, 2, dilation, tiles.columns, 2, dilation, filters)
    for which, rows in tiles.strips(channels * maps.element_size(), kernels.nbytes):
        inputs = _input_transform(bordered[which, :, rows.start : rows.stop + 1], order)
        products = torch.bmm(inputs.view(16, -1, channels), kernels)
        products = products.view(*inputs.shape[:-1], filters)
        if bias is not None:
            products[1, 1] += bias.to(maps.dtype)  # the one product that all four outputs add
        out = whole[which, rows]
        halves = list(products.new_empty(2, *products.shape[1:]))
        _output_transform(products, order, halves)
        for below, half in enumerate(halves):
            _output_transform(half, order, [out[:, :, below, :, :, right] for right in (0, 1)])
    return tiles.cut(whole)


def _of_weight(maps: Tensor, gradient: Tensor, dilation: int) -> Tensor:
    """The gradient of a weight, (F, C, 3, 3) in float32, laid out channels-last.

    Args:
        maps: (B, H, W, C), the convolution's input.
        gradient: (B, H, W, F), of its output.
        dilation: As in :func:`convolve`.
    """
    images, height, width, channels = maps.shape
    filters = gradient.shape[3]
    tiles = _Tiles.of(images, height, width, dilation)
    bordered, blocks = tiles.bordered(maps), tiles.blocks(gradient)
    size = maps.element_size()
    total = torch.zeros(16, filters, channels, dtype=torch.promote_types(maps.dtype, torch.float32))
    for which, rows in tiles.strips(channels * size, 16 * filters * channels * size):
        inputs = _input_transform(bordered[which, :, rows.start : rows.stop + 1], range(4))
        part = blocks[which, rows]
        across = _gradient_transform(part[..., 0, :, :], part[..., 1, :, :])
        gradients = _gradient_transform(across[:, :, :, 0], across[:, :, :, 1])
        gradients = gradients.view(16, -1, filters)
        total += torch.bmm(gradients.transpose(1, 2), inputs.view(16, -1, channels))
    back = _FROM_PRODUCTS.to(total.dtype).expand(filters, 9, 16)
    return torch.bmm(back, total.transpose(0, 1)).view(filters, 3, 3, channels).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class _Tiles:
    """How 2 × 2 tiles cover maps; with a dilation of n, n × n interleaved maps each.

    Attributes:
        images: In the batch.
        height: Of the maps.
        width: Of the maps.
        dilation: Of the convolution.
        rows: Tiles along y of each interleaved map.
        columns: Along x.
    """

    images: int
    height: int
    width: int
    dilation: int
    rows: int
    columns: int

    @staticmethod
    def of(images: int, height: int, width: int, dilation: int) -> _Tiles:
        """The fewest that cover the maps."""
        rows, columns = (-(-side // (2 * dilation)) for side in (height, width))
        return _Tiles(images, height, width, dilation, rows, columns)

    def strips(self, position: int, kernels: int) -> Iterator[tuple[slice, slice]]:
        """Images and rows of tiles that are worked on at a time, of about the same cost each.

        Args:
            position: Bytes of one position of the maps.
            kernels: Bytes of the transformed kernels, which every strip has to read.
        """
        row = 16 * self.dilation**2 * self.columns * position
        rows = max(1, max(_STRIP, kernels) // row)
        at_once = max(1, rows // self.rows)
        for image in range(0, self.images, at_once):
            for start in range(0, self.rows, rows):
                stop = min(self.rows, start + rows)
                yield slice(image, image + at_once), slice(start, stop)

    def blocks(self, maps: Tensor) -> Tensor:
        """(B, rows, 2, dilation, columns, 2, dilation, C), with zeros behind the maps' ends."""
        sides = self._covered()
        over = (sides[1] - self.width, sides[0] - self.height)
        if any(over):
            maps = functional.pad(maps, (0, 0, 0, over[0], 0, over[1]))
        return maps.view(len(maps), self.rows, 2, self.dilation, self.columns, 2, self.dilation, -1)

    def bordered(self, maps: Tensor) -> Tensor:
        """Maps with zeros around, their rows and columns of even and of odd number set apart.

        Returns:
            (B, 2, rows + 1, dilation, 2, columns + 1, dilation, C).
        """
        blocks = self.blocks(maps)
        step, channels = self.dilation, maps.shape[3]
        out = maps.new_empty(len(maps), 2, self.rows + 1, step, 2, self.columns + 1, step, channels)
        out[:, 0, 0] = out[:, 1, -1] = 0  # the border is even at the start, odd at the end
        out[..., 0, 0, :, :] = out[..., 1, -1, :, :] = 0
        inside = (slice(1, None), slice(None, -1))
        for y, rows in enumerate(inside):
            for x, columns in enumerate(inside):
                out[:, y, rows, :, x, columns] = blocks[:, :, 1 - y, :, :, 1 - x]
        return out

    def cut(self, whole: Tensor) -> Tensor:
        """(B, H, W, F) of what tiles cover."""
        sides = self._covered()
        maps = whole.view(self.images, *sides, whole.shape[-1])
        if sides == (self.height, self.width):
            return maps
        return maps[:, : self.height, : self.width].contiguous()

    def _covered(self) -> tuple[int, int]:
        return 2 * self.dilation * self.rows, 2 * self.dilation * self.columns


def _input_transform(bordered: Tensor, order: Sequence[int]) -> Tensor:
    """Bᵀ d B of all tiles.

    Args:
        bordered: (B, 2, rows + 1, dilation, 2, columns + 1, dilation, C).
        order: Where each of the four is put, along both axes.

    Returns:
        (4, 4, B, rows, dilation, columns, dilation, C).
    """
    across = _differences(bordered[:, :, :, :, 0], bordered[:, :, :, :, 1], 4, order)
    return _differences(across[:, :, 0], across[:, :, 1], 2, order)


def _differences(even: Tensor, odd: Tensor, axis: int, order: Sequence[int]) -> Tensor:
    """Bᵀ d of four neighbours, d0 and d2 of even and d1 and d3 of odd number, along an axis."""
    count = even.shape[axis] - 1
    (d0, d2), (d1, d3) = (
        (each.narrow(axis, 0, count), each.narrow(axis, 1, count)) for each in (even, odd)
    )
    out = even.new_empty(4, *d0.shape)
    torch.sub(d0, d2, out=out[order[0]])
    torch.add(d1, d2, out=out[order[1]])
    torch.sub(d2, d1, out=out[order[2]])
    torch.sub(d1, d3, out=out[order[3]])
    return out


def _output_transform(products: Tensor, order: Sequence[int], out: Sequence[Tensor]) -> None:
    """Aᵀ m of four products, into two outputs."""
    m0, m1, m2, m3 = (products[place] for place in order)
    torch.add(m1 + m2, m0, out=out[0])
    torch.sub(m1 - m2, m3, out=out[1])


def _gradient_transform(g0: Tensor, g1: Tensor) -> Tensor:
    """A g of two gradients, (4, …), but for the sign of the last."""
    out = g0.new_empty(4, *g0.shape)
    out[0] = g0
    torch.add(g0, g1, out=out[1])
    torch.sub(g0, g1, out=out[2])
    out[3] = g1
    return out
