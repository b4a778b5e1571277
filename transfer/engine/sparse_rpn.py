"""The gradient of a region proposal network on the CPU, where it is not zero.

The loss looks at a few hundred sampled anchors of tens of thousands, so the gradient of the head's
maps is zero at nearly every position; the toolbox sends it through a 3 × 3 convolution of all of
them, a seventh of a detector's arithmetic. Here the positions that have a gradient are gathered
first. What is left out is sums of zeros; the rest is computed in float32, and so is the toolbox's
to rounding.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from mmdet.models.dense_heads import RPNHead
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn
from torch.nn import functional

_FEW = 1 / 16
"""Share of positions with a gradient up to which gathering them is faster than a convolution."""


@HOOKS.register_module()
class SparseRpnGradients(Hook):
    """Let a model's region proposal networks compute their gradients so, on the CPU."""

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Put the head's maps in the place of its own."""
        for head in runner.model.modules():
            if type(head) is RPNHead and _is_plain(head):
                head.forward_single = partial(_forward, head)


def _is_plain(head: RPNHead) -> bool:
    """Whether a head is one 3 × 3 convolution, ReLU, and two 1 × 1 convolutions."""
    hidden, *outputs = layers = (head.rpn_conv, head.rpn_cls, head.rpn_reg)
    return (
        all(type(layer) is nn.Conv2d and layer.groups == 1 for layer in layers)
        and all(layer.stride == layer.dilation == (1, 1) for layer in layers)
        and (hidden.kernel_size, hidden.padding) == ((3, 3), (1, 1))
        and all((each.kernel_size, each.padding) == ((1, 1), (0, 0)) for each in outputs)
    )


def _forward(head: RPNHead, features: Tensor) -> tuple[Tensor, Tensor]:
    """A head's ``forward_single``: scores and box deltas of one level."""
    if features.device.type != "cpu":
        return RPNHead.forward_single(head, features)
    layers = (head.rpn_conv, head.rpn_cls, head.rpn_reg)
    weights = (each for layer in layers for each in (layer.weight, layer.bias))
    return _Head.apply(head.rpn_conv, features, *weights)


class _Head(torch.autograd.Function):
    """Scores and deltas, (B, A, H, W) and (B, 4A, H, W), of (B, C, H, W) features."""

    @staticmethod
    def forward(
        ctx: Any, layer: nn.Conv2d, features: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        conv, _, scores, scores_bias, deltas, deltas_bias = weights
        hidden = layer(features).relu_()
        ctx.save_for_backward(features, hidden, conv, scores, deltas)
        return (
            functional.conv2d(hidden, scores, scores_bias),
            functional.conv2d(hidden, deltas, deltas_bias),
        )

    @staticmethod
    @torch.autocast("cpu", enabled=False)
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        features, hidden, *weights = ctx.saved_tensors
        # Rounded to the precision of the forward pass.
        conv, *outputs = (weight.to(hidden.dtype) for weight in weights)
        told = torch.cat([_positions(gradient) for gradient in gradients], dim=1)
        where = told.any(dim=1).nonzero()[:, 0]
        there = [_positions(gradient)[where].float() for gradient in gradients]
        active = _positions(hidden)[where].float()
        of_hidden = sum(g @ w.float().flatten(1) for g, w in zip(there, outputs, strict=True))
        of_hidden = of_hidden * (active > 0)
        of_outputs = [
            each
            for gradient, weight in zip(there, outputs, strict=True)
            for each in ((gradient.T @ active).view_as(weight), gradient.sum(dim=0))
        ]
        few = len(where) <= _FEW * len(told)
        backward = _where_it_is if few else _everywhere
        of_features, of_conv = backward(of_hidden, where, features, conv)
        return None, of_features, of_conv, of_hidden.sum(dim=0), *of_outputs


def _where_it_is(
    gradient: Tensor, where: Tensor, features: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients of a 3 × 3 convolution's input and weights, from some positions' gradient.

    Args:
        gradient: (N, F), of the convolution's output.
        where: (N,), positions in (B, H, W).
        features: (B, C, H, W), its input.
        weight: (F, C, 3, 3), as the forward pass had it.
    """
    images, channels, height, width = features.shape
    image, y, x = torch.unravel_index(where, (images, height, width))
    step = torch.arange(-1, 2)
    y, x = (y[:, None] + step)[:, :, None], (x[:, None] + step)[:, None, :]
    inside = ((y >= 0) & (y < height) & (x >= 0) & (x < width)).flatten(1)
    near = ((image[:, None, None] * height + y) * width + x).flatten(1)  # (N, 9)
    seen = torch.zeros(len(where), 9, channels)
    seen[inside] = _positions(features)[near[inside]].float()
    of_weight = (gradient.T @ seen.flatten(1)).view(-1, 3, 3, channels).permute(0, 3, 1, 2)
    parts = (gradient @ weight.float().permute(0, 2, 3, 1).flatten(1)).view(-1, 9, channels)
    touched, place = near[inside].unique(return_inverse=True)
    sums = torch.zeros(len(touched), channels).index_add_(0, place, parts[inside])
    of_features = features.new_zeros(images, height, width, channels)
    of_features.view(-1, channels)[touched] = sums.to(features.dtype)
    return of_features.permute(0, 3, 1, 2), of_weight


def _everywhere(
    gradient: Tensor, where: Tensor, features: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """As :func:`_where_it_is`, by the convolution's own gradients."""
    images, _, height, width = features.shape
    whole = weight.new_zeros(images, height, width, len(weight))
    whole.view(-1, len(weight))[where] = gradient.to(weight.dtype)
    settings = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False])
    of_features, of_weight, _ = torch.ops.aten.convolution_backward(
        whole.permute(0, 3, 1, 2), features.to(weight.dtype), weight, None, *settings
    )
    return of_features.to(features.dtype), of_weight.float()


def _positions(maps: Tensor) -> Tensor:
    """(B · H · W, C) of (B, C, H, W)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)
