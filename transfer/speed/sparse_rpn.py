"""The gradient of a region proposal network on the CPU, only where it is not zero.

The loss uses a few hundred sampled anchors of tens of thousands, so the gradient of the head's maps
is zero at nearly every position; the toolbox still sends it through a 3 × 3 convolution of all
positions, a seventh of a detector's arithmetic. Here the positions with a gradient are gathered
first. Only sums of zeros are skipped; the rest is computed in float32 and equals the toolbox's up
to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from mmdet.models.dense_heads import RPNHead
from torch import Tensor, nn
from torch.nn import functional

from transfer.speed.part import Part, known, require_cpu

_FEW = 1 / 16
"""Share of positions with a gradient up to which gathering them is faster than a convolution."""


class SparseRpnGradients(Part):
    """Makes a model's region proposal networks compute such gradients on the CPU."""

    def install(self, runner: Any) -> str:
        """Replace the forward pass of the heads, and with it the backward one."""
        require_cpu(runner)
        heads = known(runner.model.modules(), RPNHead, _unlike)
        for head in heads:
            head.forward = partial(_forward, head)
        return f"proposal heads: {len(heads)}"


def _unlike(head: RPNHead) -> str:
    """Why a head is not one 3 × 3 convolution, ReLU, and two 1 × 1 ones; empty if it is."""
    hidden, *outputs = layers = (head.rpn_conv, head.rpn_cls, head.rpn_reg)
    plain = (
        all(type(layer) is nn.Conv2d and layer.groups == 1 for layer in layers)
        and all(layer.stride == layer.dilation == (1, 1) for layer in layers)
        and (hidden.kernel_size, hidden.padding) == ((3, 3), (1, 1))
        and all((each.kernel_size, each.padding) == ((1, 1), (0, 0)) for each in outputs)
    )
    return "" if plain else "the proposal head is not a 3 × 3 convolution and two 1 × 1 ones"


def _forward(head: RPNHead, maps: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """A head's ``forward``: scores and box deltas of each level."""
    layers = (head.rpn_conv, head.rpn_cls, head.rpn_reg)
    weights = (each for layer in layers for each in (layer.weight, layer.bias))
    outputs = _Head.apply(head.rpn_conv, len(maps), *maps, *weights)
    return list(outputs[: len(maps)]), list(outputs[len(maps) :])


class _Head(torch.autograd.Function):
    """Scores and then deltas, (B, A, H, W) and (B, 4A, H, W), of levels of (B, C, H, W) maps."""

    @staticmethod
    def forward(ctx: Any, layer: nn.Conv2d, levels: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        maps = tensors[:levels]
        conv, _, scores, scores_bias, deltas, deltas_bias = tensors[levels:]
        hidden = [layer(each).relu_() for each in maps]
        ctx.levels = levels
        ctx.save_for_backward(*maps, *hidden, conv, scores, deltas)
        return (
            *(functional.conv2d(each, scores, scores_bias) for each in hidden),
            *(functional.conv2d(each, deltas, deltas_bias) for each in hidden),
        )

    @staticmethod
    @torch.autocast("cpu", enabled=False)
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        levels = ctx.levels
        maps, hidden = ctx.saved_tensors[:levels], ctx.saved_tensors[levels : 2 * levels]
        # Rounded to the precision of the forward pass.
        conv, *outputs = (each.to(hidden[0].dtype) for each in ctx.saved_tensors[2 * levels :])
        incoming = [
            [_positions(each) for each in part] for part in (gradients[:levels], gradients[levels:])
        ]
        where = [
            torch.cat(each, dim=1).any(dim=1).nonzero()[:, 0]
            for each in zip(*incoming, strict=True)
        ]
        there = [_gathered(of_output, where) for of_output in incoming]
        active = _gathered([_positions(each) for each in hidden], where)
        of_hidden = sum(g @ w.float().flatten(1) for g, w in zip(there, outputs, strict=True))
        of_hidden = of_hidden * (active > 0)
        of_outputs = [
            each
            for gradient, weight in zip(there, outputs, strict=True)
            for each in ((gradient.T @ active).view_as(weight), gradient.sum(dim=0))
        ]
        few = len(of_hidden) <= _FEW * sum(len(of_level) for of_level in incoming[0])
        backward = _where_it_is if few else _everywhere
        of_maps, of_conv = backward(of_hidden, where, maps, conv)
        return None, None, *of_maps, of_conv, of_hidden.sum(dim=0), *of_outputs


def _where_it_is(
    gradient: Tensor, where: Sequence[Tensor], maps: Sequence[Tensor], weight: Tensor
) -> tuple[list[Tensor], Tensor]:
    """The gradients of a 3 × 3 convolution's inputs and weights, from those at some positions.

    Args:
        gradient: (N, F), gradient of the convolution's output, level by level.
        where: (N of the level,), positions in (B, H, W).
        maps: (B, C, H, W) of each level, its input.
        weight: (F, C, 3, 3), as in the forward pass.
    """
    sizes, channels = [len(each) for each in where], weight.shape[1]
    near = [_neighbours(at, each.shape) for at, each in zip(where, maps, strict=True)]
    seen = torch.zeros(len(gradient), 9, channels)
    for part, (place, inside), each in zip(seen.split(sizes), near, maps, strict=True):
        part[inside] = _positions(each)[place].float()
    of_weight = (gradient.T @ seen.flatten(1)).view(-1, 3, 3, channels).permute(0, 3, 1, 2)
    parts = (gradient @ weight.float().permute(0, 2, 3, 1).flatten(1)).view(-1, 9, channels)
    of_maps = []
    for part, (place, inside), each in zip(parts.split(sizes), near, maps, strict=True):
        touched, order = place.unique(return_inverse=True)
        sums = torch.zeros(len(touched), channels).index_add_(0, order, part[inside])
        of_map = torch.zeros_like(each, memory_format=torch.channels_last)
        _positions(of_map)[touched] = sums.to(each.dtype)
        of_maps.append(of_map)
    return of_maps, of_weight


def _neighbours(where: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """The positions inside the maps that a 3 × 3 kernel touches, and their mask.

    Args:
        where: (N,), positions in (B, H, W).
        shape: B, C, H and W.

    Returns:
        (M,) positions, and (N, 9), true at M of them.
    """
    images, _, height, width = shape
    image, y, x = torch.unravel_index(where, (images, height, width))
    step = torch.arange(-1, 2)
    y, x = (y[:, None] + step)[:, :, None], (x[:, None] + step)[:, None, :]
    inside = ((y >= 0) & (y < height) & (x >= 0) & (x < width)).flatten(1)
    near = ((image[:, None, None] * height + y) * width + x).flatten(1)
    return near[inside], inside


def _everywhere(
    gradient: Tensor, where: Sequence[Tensor], maps: Sequence[Tensor], weight: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Like :func:`_where_it_is`, with the convolution's own gradients."""
    settings = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False])
    of_maps, of_weight = [], torch.zeros(weight.shape)
    parts = gradient.to(weight.dtype).split([len(each) for each in where])
    for part, at, each in zip(parts, where, maps, strict=True):
        images, _, height, width = each.shape
        whole = weight.new_zeros(images, height, width, len(weight))
        whole.view(-1, len(weight))[at] = part
        of_map, of_one, _ = torch.ops.aten.convolution_backward(
            whole.permute(0, 3, 1, 2), each.to(weight.dtype), weight, None, *settings
        )
        of_maps.append(of_map.to(each.dtype))
        of_weight += of_one
    return of_maps, of_weight


def _gathered(levels: Sequence[Tensor], where: Sequence[Tensor]) -> Tensor:
    """Rows of each level, one level after another, in float32."""
    return torch.cat([each[at] for each, at in zip(levels, where, strict=True)]).float()


def _positions(maps: Tensor) -> Tensor:
    """(B · H · W, C) of (B, C, H, W)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)
