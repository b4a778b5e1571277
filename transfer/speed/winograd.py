"""3 × 3 convolutions on the CPU, and their gradients, with a third of the multiplications.

Winograd's minimal filtering F(4 × 2, 3 × 3) in Lavin's and Gray's form ("Fast Algorithms for
Convolutional Neural Networks", CVPR 2016, section 4.1): a tile y of 4 × 2 outputs is made of the
6 × 4 inputs d around it and the kernel g by

    y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A,

and ⊙ is, over all tiles and channels, 24 matrix products instead of 72. On the left, along y, the
matrices evaluate polynomials at 0, ±√½, ±√2 and ∞; on the right, along x, at 0, ±1 and ∞. The
gradient of the input is such a convolution itself, with each kernel turned by half a turn; as the
points are each other's reciprocals, its transform is the kernel's own in another order. That of the
kernel is, by transposing, Gᵀ [Σ (A dy Aᵀ) ⊙ (Bᵀ d B)] G. A dilation of n gives n × n convolutions
of interleaved maps.

A detector's loss uses parts of its maps. Tiles without a gradient add zeros to both gradients and
are skipped if that saves time.

In float32 the values equal a convolution's up to rounding. In bfloat16 tiles and products are
rounded too: the error is four to five times that of a plain convolution in bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from backbones.common.hardware import cpu_flags
from backbones.runtime.precision import computed_in
from transfer.speed.part import Inactive, Part, computed_dtype, require_cpu

_CHANNELS = 256
"""Fewest input or output channels; below, the transforms cost what the products save."""

_POSITIONS = 1600
"""Fewest positions in a batch; below, the kernels' transform costs too much."""

_SAVED = 1.5
"""Least ratio of multiplications; maps that dilated tiles cover badly stay unchanged."""

_FEW = 0.6
"""Largest share of tiles with a gradient for which gathering them is faster."""

_STRIP = 16 << 20
"""Bytes of transformed maps per block, which fit third-level caches."""

_NEAR, _FAR = 0.5**0.5, 2.0**0.5
"""Points along y, with both signs; the usual 1 and 2 have one and a half times the error."""

_G_ACROSS = torch.tensor(
    [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]], dtype=torch.float64
)
"""(4, 3): g at 0, 1, -1 and infinity."""

_G_DOWN = torch.tensor(
    [
        [1.0, 0.0, 0.0],
        *([2 / 3 * x**power for power in range(3)] for x in (_NEAR, -_NEAR)),
        *([1 / 3 * x**power for power in range(3)] for x in (_FAR, -_FAR)),
        [0.0, 0.0, 1.0],
    ],
    dtype=torch.float64,
)
"""(6, 3): g at 0, ±√½, ±√2 and infinity, scaled so that turning g swaps its rows."""

_KERNEL = torch.einsum("xj,yi->xyij", _G_ACROSS, _G_DOWN).reshape(24, 9)
"""G g Gᵀ of a flat kernel."""

_FROM_PRODUCTS = torch.einsum(
    "xj,yi->ijxy", _G_ACROSS * torch.tensor([1.0, 1.0, 1.0, -1.0])[:, None], _G_DOWN
).reshape(9, 24)
"""Back to a flat kernel, with the sign that :func:`_gradient_transform` omits."""


class WinogradConvolutions(Part):
    """Computes a model's 3 × 3 convolutions this way on the CPU.

    Layers with a stride, groups or few channels stay unchanged, and so do all in bfloat16 on a CPU
    with AMX, which multiplies faster than memory could supply these transforms.
    """

    def install(self, runner: Any) -> str:
        """Replace the forward pass of the layers, and with it the backward one."""
        require_cpu(runner)
        if not _pays_in(dtype := computed_dtype(runner)):
            raise Inactive(f"this processor computes plain convolutions faster in {dtype}")
        layers = [layer for layer in runner.model.modules() if _is_fit(layer)]
        if not layers:
            raise Inactive(f"the model has no plain 3 × 3 convolution of {_CHANNELS} channels")
        for layer in layers:
            layer.forward = partial(_forward, layer)
        return f"3 × 3 convolutions: {len(layers)}"


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
    dtype, dilation = computed_in(maps), layer.dilation[0]
    if not (_pays_in(dtype) and _pays_on(maps, dilation)):
        return nn.Conv2d.forward(layer, maps)
    return convolve(maps.to(dtype), layer.weight, layer.bias, dilation)


def _pays_in(dtype: torch.dtype) -> bool:
    if dtype is torch.bfloat16:
        return "amx_bf16" not in cpu_flags()
    return dtype is torch.float32


def _pays_on(maps: Tensor, dilation: int) -> bool:
    if maps.device.type != "cpu" or maps.dim() != 4:
        return False
    images, _, height, width = maps.shape
    tiles = _Tiles.of(images, height, width, dilation)
    products = 24 * tiles.rows * tiles.columns * dilation**2
    return images * height * width >= _POSITIONS and 9 * height * width >= _SAVED * products


def convolve(maps: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """A 3 × 3 convolution of stride 1 that keeps the maps' size.

    Args:
        maps: (B, C, H, W), no dimension is 0, in the precision of the computation.
        weight: (F, C, 3, 3); transformed in its own precision, then rounded to the maps'.
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
        output = _apply(
            inner, kernels=kernels.transpose(1, 2), dilation=dilation, bias=bias
        ).permute(0, 3, 1, 2)
        return output.detach()  # later code could not change a view in place

    @staticmethod
    @once_differentiable
    @torch.autocast("cpu", enabled=False)
    def backward(  # type: ignore[override]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        maps, kernels = ctx.saved_tensors
        inner = _channels_inside(gradient)
        there = _there(inner) if ctx.dilation == 1 else None
        of_maps = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_maps = _apply(
                inner, kernels=kernels, dilation=ctx.dilation, turned=True, there=there
            )
            of_maps = of_maps.permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            of_weight = _of_weight(maps, inner, ctx.dilation, there).to(ctx.dtype)
        if ctx.needs_input_grad[2]:
            of_bias = inner.sum(dim=(0, 1, 2), dtype=ctx.dtype)
        return of_maps, of_weight, of_bias, None


def _channels_inside(maps: Tensor) -> Tensor:
    """(B, H, W, C) of (B, C, H, W)."""
    return maps.permute(0, 2, 3, 1).contiguous()


def _transformed(weight: Tensor) -> Tensor:
    """G g Gᵀ: (24, F, C) of (F, C, 3, 3)."""
    filters, channels = weight.shape[:2]
    flat = weight.permute(2, 3, 0, 1).reshape(9, filters * channels)
    return (_KERNEL.to(weight.dtype) @ flat).view(24, filters, channels)


def _apply(
    maps: Tensor,
    *,
    kernels: Tensor,
    dilation: int,
    bias: Tensor | None = None,
    turned: bool = False,
    there: Tensor | None = None,
) -> Tensor:
    """The convolution.

    Args:
        maps: (B, H, W, C).
        kernels: (24, C, F), transformed.
        dilation: As in :func:`convolve`.
        bias: (F,), or None.
        turned: Whether to apply the kernels turned by half a turn.
        there: (B, H, W), where the maps are not zero, without a bias; None means everywhere.

    Returns:
        (B, H, W, F).
    """
    images, height, width, channels = maps.shape
    filters = kernels.shape[2]
    tiles = _Tiles.of(images, height, width, dilation)
    order = _TURNED if turned else _STRAIGHT
    bordered = tiles.bordered(maps)
    few = None if there is None else tiles.few(_near(there))
    make = maps.new_empty if few is None else maps.new_zeros
    whole = make(images, tiles.rows, 4, dilation, tiles.columns, 2, dilation, filters)
    for part in tiles.parts(few, channels * maps.element_size(), kernels.nbytes):
        inputs = _input_transform(tiles.around(bordered, part), order)
        products = torch.bmm(inputs.view(24, -1, channels), kernels)
        products = products.view(*inputs.shape[:-1], filters)
        out = tiles.of_part(whole, part)
        _output_transform(products, order, out)
        if bias is not None:
            out += bias.to(maps.dtype)
        if isinstance(part, Tensor):  # a copy of the tiles
            whole.view(-1, 2 * filters)[tiles.lines(part)] = out.view(-1, 2 * filters)
    return tiles.cut(whole)


def _there(maps: Tensor) -> Tensor:
    """(B, H, W), whether anything of (B, H, W, C) is not zero; eight bytes at a time, if it can."""
    whole = maps.shape[3] * maps.element_size() % 8 == 0
    return (maps.view(torch.int64) if whole else maps).any(dim=3)


def _near(there: Tensor) -> Tensor:
    """(B, H, W), whether a 3 × 3 kernel touches anything."""
    return functional.max_pool2d(there.float(), 3, stride=1, padding=1).bool()


def _of_weight(
    maps: Tensor, gradient: Tensor, dilation: int, there: Tensor | None = None
) -> Tensor:
    """The gradient of a weight, (F, C, 3, 3) in float32, laid out channels-last.

    Args:
        maps: (B, H, W, C), the convolution's input.
        gradient: (B, H, W, F), gradient of its output.
        dilation: As in :func:`convolve`.
        there: (B, H, W), where the gradient is not zero; None means everywhere.
    """
    images, height, width, channels = maps.shape
    filters = gradient.shape[3]
    tiles = _Tiles.of(images, height, width, dilation)
    bordered, blocks = tiles.bordered(maps), tiles.blocks(gradient)
    few = None if there is None else tiles.few(there)
    size = maps.element_size()
    total = torch.zeros(24, filters, channels, dtype=torch.promote_types(maps.dtype, torch.float32))
    for part in tiles.parts(few, channels * size, 24 * filters * channels * size):
        inputs = _input_transform(tiles.around(bordered, part), _STRAIGHT)
        gradients = _gradient_transform(tiles.of_part(blocks, part)).view(24, -1, filters)
        total += torch.bmm(gradients.transpose(1, 2), inputs.view(24, -1, channels))
    back = _FROM_PRODUCTS.to(total.dtype).expand(filters, 9, 24)
    return torch.bmm(back, total.transpose(0, 1)).view(filters, 3, 3, channels).permute(0, 3, 1, 2)


_Part = tuple[slice, slice] | Tensor
"""Images and rows of tiles, or the indices of some tiles."""


@dataclass(frozen=True, kw_only=True)
class _Tiles:
    """How tiles of 4 × 2 cover maps; with a dilation of n, n × n interleaved maps each.

    Attributes:
        images: Number of images in the batch.
        height: Height of the maps.
        width: Width of the maps.
        dilation: Dilation of the convolution.
        rows: Tiles along y of each interleaved map.
        columns: Tiles along x.
    """

    images: int
    height: int
    width: int
    dilation: int
    rows: int
    columns: int

    @staticmethod
    def of(images: int, height: int, width: int, dilation: int) -> _Tiles:
        """The smallest number of tiles that covers the maps."""
        rows, columns = -(-height // (4 * dilation)), -(-width // (2 * dilation))
        return _Tiles(
            images=images, height=height, width=width, dilation=dilation, rows=rows, columns=columns
        )

    def strips(self, position: int, kernels: int) -> Iterator[tuple[slice, slice]]:
        """Blocks of images and rows of tiles, each of about the same cost.

        Args:
            position: Bytes of one position of the maps.
            kernels: Bytes of the transformed kernels, which every block must read.
        """
        row = 24 * self.dilation**2 * self.columns * position
        rows = max(1, max(_STRIP, kernels) // row)
        at_once = max(1, rows // self.rows)
        for image in range(0, self.images, at_once):
            for start in range(0, self.rows, rows):
                stop = min(self.rows, start + rows)
                yield slice(image, image + at_once), slice(start, stop)

    def few(self, there: Tensor) -> Tensor | None:
        """Indices of the non-zero tiles; None if these are most tiles.

        Args:
            there: (B, H, W), of maps without dilation.
        """
        held = self.blocks(there[..., None]).flatten(5).any(dim=5).any(dim=2).flatten()
        few = held.nonzero()[:, 0]
        return few if len(few) <= _FEW * len(held) else None

    def parts(self, few: Tensor | None, position: int, kernels: int) -> Iterator[_Part]:
        """The blocks of work: some of the few tiles, or :meth:`strips` of all."""
        if few is None:
            return self.strips(position, kernels)
        at_once = max(1, max(_STRIP, kernels) // (24 * position))
        return (part for part in few.split(at_once) if len(part))

    def of_part(self, blocks: Tensor, part: _Part) -> Tensor:
        """A part of :meth:`blocks`; for few tiles a copy, each as an image of one tile."""
        if not isinstance(part, Tensor):
            return blocks[part]
        pairs = blocks.view(-1, 2 * blocks.shape[-1])
        return pairs.index_select(0, self.lines(part)).view(len(part), 1, 4, 1, 1, 2, 1, -1)

    def around(self, bordered: Tensor, part: _Part) -> Tensor:
        """The inputs of a part, as in :meth:`bordered`; few tiles as in :meth:`of_part`."""
        if not isinstance(part, Tensor):
            which, rows = part
            return bordered[which, rows.start : rows.stop + 1]
        image, row, column = torch.unravel_index(part, (self.images, self.rows, self.columns))
        first = (image * (self.rows + 1) + row) * 8 * (self.columns + 1) + column
        near = torch.arange(16)[:, None] * (self.columns + 1) + torch.arange(2)
        lines = (first[:, None] + near.flatten()).flatten()
        found = bordered.view(-1, bordered.shape[-1]).index_select(0, lines)
        return found.view(len(part), 2, 4, 1, 2, 2, 1, -1)

    def lines(self, few: Tensor) -> Tensor:
        """Positions of the 4 lines of tiles among all of :meth:`blocks`, without dilation."""
        row, column = few // self.columns, few % self.columns
        first = row * 4 * self.columns + column
        return (first[:, None] + torch.arange(4) * self.columns).flatten()

    def blocks(self, maps: Tensor) -> Tensor:
        """(B, rows, 4, dilation, columns, 2, dilation, C), with zeros after the maps' ends."""
        height, width = self._covered()
        over = (width - self.width, height - self.height)
        if any(over):
            maps = functional.pad(maps, (0, 0, 0, over[0], 0, over[1]))
        return maps.view(len(maps), self.rows, 4, self.dilation, self.columns, 2, self.dilation, -1)

    def bordered(self, maps: Tensor) -> Tensor:
        """Maps padded with zeros, with even and odd columns separated.

        Returns:
            (B, rows + 1, 4, dilation, 2, columns + 1, dilation, C); of the last four rows the last
            two are undefined.
        """
        blocks = self.blocks(maps)
        step, channels = self.dilation, maps.shape[3]
        out = maps.new_empty(len(maps), self.rows + 1, 4, step, 2, self.columns + 1, step, channels)
        out[:, 0, 0] = out[:, -1, 1] = 0
        out[:, :, :, :, 0, 0] = out[:, :, :, :, 1, -1] = 0
        for x, columns in enumerate((slice(1, None), slice(None, -1))):
            part = blocks[..., 1 - x, :, :]
            out[:, :-1, 1:, :, x, columns] = part[:, :, :3]
            out[:, 1:, 0, :, x, columns] = part[:, :, 3]
        return out

    def cut(self, whole: Tensor) -> Tensor:
        """(B, H, W, F) of the area that tiles cover."""
        sides = self._covered()
        maps = whole.view(self.images, *sides, whole.shape[-1])
        if sides == (self.height, self.width):
            return maps
        return maps[:, : self.height, : self.width].contiguous()

    def _covered(self) -> tuple[int, int]:
        return 4 * self.dilation * self.rows, 2 * self.dilation * self.columns


class _Order(NamedTuple):
    """The order of the products; the transformed kernel may be turned.

    Attributes:
        down: Order of the six along y.
        across: Order of the four along x.
    """

    down: tuple[int, ...]
    across: tuple[int, ...]


_STRAIGHT = _Order((0, 1, 2, 3, 4, 5), (0, 1, 2, 3))
_TURNED = _Order((5, 3, 4, 1, 2, 0), (3, 1, 2, 0))


def _input_transform(bordered: Tensor, order: _Order) -> Tensor:
    """Bᵀ d B of all tiles.

    Args:
        bordered: (B, rows + 1, 4, dilation, 2, columns + 1, dilation, C).
        order: Order of the products.

    Returns:
        (4, 6, B, rows, dilation, columns, dilation, C).
    """
    down = _input_down(bordered, order.down)
    return _input_across(down[:, :, :, :, 0], down[:, :, :, :, 1], order.across)


def _input_down(bordered: Tensor, order: Sequence[int]) -> Tensor:
    """Bᵀ d of six neighbours along y: (6, B, rows, dilation, 2, columns + 1, dilation, C)."""
    d0, d1, d2, d3 = bordered[:, :-1].unbind(2)
    d4, d5 = bordered[:, 1:, :2].unbind(2)
    out = d0.new_empty(6, *d0.shape)
    at_0, near, near_minus, far, far_minus, at_infinity = (out[place] for place in order)
    torch.add(torch.sub(d0, d2, alpha=2.5), d4, out=at_0)
    even, odd = torch.sub(d2, d4, alpha=0.5), torch.sub(d1, d3, alpha=0.5)
    torch.add(even, odd, alpha=_NEAR, out=near)
    torch.sub(even, odd, alpha=_NEAR, out=near_minus)
    torch.sub(d4, d2, alpha=0.5, out=even)
    torch.sub(d3, d1, alpha=0.5, out=odd)
    torch.add(even, odd, alpha=_FAR, out=far)
    torch.sub(even, odd, alpha=_FAR, out=far_minus)
    torch.add(torch.sub(d1, d3, alpha=2.5), d5, out=at_infinity)
    return out


def _input_across(even: Tensor, odd: Tensor, order: Sequence[int]) -> Tensor:
    """Bᵀ d of four neighbours along x, d0 and d2 at even and d1 and d3 at odd positions."""
    columns = even.shape[4] - 1
    (d0, d2), (d1, d3) = (
        (each.narrow(4, 0, columns), each.narrow(4, 1, columns)) for each in (even, odd)
    )
    out = even.new_empty(4, *d0.shape)
    torch.sub(d0, d2, out=out[order[0]])
    torch.add(d1, d2, out=out[order[1]])
    torch.sub(d2, d1, out=out[order[2]])
    torch.sub(d1, d3, out=out[order[3]])
    return out


def _output_transform(products: Tensor, order: _Order, out: Tensor) -> None:
    """Aᵀ m A of all products.

    Args:
        products: (4, 6, B, rows, dilation, columns, dilation, F).
        order: Order of the products.
        out: (B, rows, 4, dilation, columns, 2, dilation, F), written to.
    """
    m0, m1, m2, m3 = (products[place] for place in order.across)
    halves = (m1 + m2).add_(m0), (m1 - m2).sub_(m3)
    for right, half in enumerate(halves):
        at_0, near, near_minus, far, far_minus, at_infinity = (half[place] for place in order.down)
        y0, y1, y2, y3 = out[..., right, :, :].unbind(2)
        near_even, far_even = near + near_minus, far + far_minus
        torch.add(near_even, far_even, out=y2)
        torch.add(at_0.add_(near_even, alpha=2.0), far_even, alpha=0.5, out=y0)
        near_odd, far_odd = near.sub_(near_minus), far.sub_(far_minus)
        torch.add(at_infinity.add_(near_odd, alpha=_NEAR), far_odd, alpha=_FAR, out=y3)
        torch.mul(near_odd.add_(far_odd, alpha=0.5), _FAR, out=y1)


def _gradient_transform(blocks: Tensor) -> Tensor:
    """A g Aᵀ of all gradients, except for the sign of the last along x.

    Args:
        blocks: (B, rows, 4, dilation, columns, 2, dilation, F).

    Returns:
        (4, 6, B, rows, dilation, columns, dilation, F).
    """
    g0, g1, g2, g3 = blocks.unbind(2)
    down = g0.new_empty(6, *g0.shape)
    down[0], down[5] = g0, g3
    for first, x in ((1, _NEAR), (3, _FAR)):
        even, odd = torch.add(g2, g0, alpha=x**-2), torch.add(g3, g1, alpha=x**-2)
        torch.add(even, odd, alpha=x, out=down[first])
        torch.sub(even, odd, alpha=x, out=down[first + 1])
    left, right = down.unbind(5)
    out = left.new_empty(4, *left.shape)
    out[0], out[3] = left, right
    torch.add(left, right, out=out[1])
    torch.sub(left, right, out=out[2])
    return out
