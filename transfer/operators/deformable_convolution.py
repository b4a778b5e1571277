"""Deformable convolution, v1 (arXiv 1703.06211) and v2 with masks (arXiv 1811.11168).

torchvision computes both. Its backward operator gives all gradients at once, so v1, whose gradients
mmcv asks for in two calls, computes them twice.
"""

from __future__ import annotations

import torch
import torchvision  # noqa: F401  (registers its operators with torch)
from torch import Tensor

from transfer.operators.float_types import widened


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **geometry: int,
) -> None:
    """Deformable convolution v1, written into ``output``.

    Args:
        input: (B, C, H, W).
        weight: (C', C / groups, kH, kW).
        offset: (B, 2 G kH kW, H', W'), y and x of each tap for each of G deformable groups, in
            pixels.
        output: (B, C', H', W'), overwritten.
        columns: Unused buffer.
        ones: Unused buffer.
        geometry: ``kW``, ``kH``, ``dW``, ``dH`` (strides), ``padW``, ``padH``, ``dilationW``,
            ``dilationH``, ``group``, ``deformable_group``, and ``im2col_step``, which is unused.
    """
    tensors = _of_v1(input, weight, offset)
    output.copy_(torch.ops.torchvision.deform_conv2d(*tensors, *_geometry_of_v1(geometry), False))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **geometry: int,
) -> None:
    """Gradients of :func:`deform_conv_forward` by input and offset, written into ``grad_*``."""
    of_input, _, of_offset, *_ = _gradients(
        grad_output, _of_v1(input, weight, offset), _geometry_of_v1(geometry), False
    )
    grad_input.copy_(of_input)
    grad_offset.copy_(of_offset)


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    scale: float,
    **geometry: int,
) -> None:
    """The gradient of :func:`deform_conv_forward` by the weights.

    ``scale`` times the gradient is added to ``grad_weight``. The gradient does not depend on the
    weights themselves.
    """
    _, of_weight, *_ = _gradients(
        grad_output, _of_v1(input, grad_weight, offset), _geometry_of_v1(geometry), False
    )
    grad_weight.add_(of_weight, alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    *,
    with_bias: bool,
    **geometry: int,
) -> None:
    """Deformable convolution v2, written into ``output``.

    Args:
        input: (B, C, H, W).
        weight: (C', C / groups, kH, kW).
        bias: (C',); unused without ``with_bias``.
        ones: Unused buffer.
        offset: As for v1. A larger map is read as mmcv reads it: the numbers of each image, one
            after another, as if the map had the output's size. DyHead relies on that.
        mask: (B, G kH kW, H', W'), a factor for each tap; a larger map is read like an offset.
        output: (B, C', H', W'), overwritten.
        columns: Unused buffer.
        with_bias: Whether the bias is added.
        geometry: ``kernel_h``, ``kernel_w``, ``stride_h``, ``stride_w``, ``pad_h``, ``pad_w``,
            ``dilation_h``, ``dilation_w``, ``group`` and ``deformable_group``.
    """
    tensors = _of_v2(input, weight, bias, offset, mask, output, with_bias)
    output.copy_(torch.ops.torchvision.deform_conv2d(*tensors, *_geometry_of_v2(geometry), True))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    *,
    with_bias: bool,
    **geometry: int,
) -> None:
    """All gradients of :func:`modulated_deform_conv_forward`, written into ``grad_*``."""
    of_input, of_weight, of_offset, of_mask, of_bias = _gradients(
        grad_output,
        _of_v2(input, weight, bias, offset, mask, grad_output, with_bias),
        _geometry_of_v2(geometry),
        True,
    )
    grad_input.copy_(of_input)
    grad_weight.copy_(of_weight)
    for gradient, found in ((grad_offset, of_offset), (grad_mask, of_mask)):
        whole = torch.zeros_like(gradient).flatten(1)
        whole[:, : found[0].numel()] = found.flatten(1)
        gradient.copy_(whole.view_as(gradient))
    if with_bias:
        grad_bias.copy_(of_bias)


_Tensors = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]  # input, weight, offset, mask, bias
_Geometry = tuple[int, ...]


def _of_v1(input: Tensor, weight: Tensor, offset: Tensor) -> _Tensors:
    input, weight, offset = widened(input), widened(weight), widened(offset)
    return input, weight, offset, input.new_zeros(len(input), 1), input.new_zeros(len(weight))


def _of_v2(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    with_bias: bool,
) -> _Tensors:
    input, weight = widened(input), widened(weight)
    taps = weight[0, 0].numel()
    groups = offset.shape[1] // (2 * taps)
    return (
        input,
        weight,
        _as_large_as(output, offset, 2 * groups * taps),
        _as_large_as(output, mask, groups * taps),
        widened(bias) if with_bias else input.new_zeros(len(weight)),
    )


def _as_large_as(output: Tensor, of_taps: Tensor, channels: int) -> Tensor:
    """The first numbers of each image, as a map of the output's size."""
    size = output.shape[2:]
    if of_taps.shape[2:] == size:
        return widened(of_taps)
    first = of_taps.flatten(1)[:, : channels * size.numel()]
    return widened(first).reshape(len(first), channels, *size)


def _gradients(
    grad_output: Tensor, tensors: _Tensors, geometry: _Geometry, masked: bool
) -> _Tensors:
    return torch.ops.torchvision._deform_conv2d_backward(
        widened(grad_output), *tensors, *geometry, masked
    )


def _geometry_of_v1(given: dict[str, int]) -> _Geometry:
    names = ("dH", "dW", "padH", "padW", "dilationH", "dilationW", "group", "deformable_group")
    return tuple(given[name] for name in names)


def _geometry_of_v2(given: dict[str, int]) -> _Geometry:
    names = ("stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w")
    return tuple(given[name] for name in (*names, "group", "deformable_group"))
