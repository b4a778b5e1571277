"""Multi-scale deformable attention ("Deformable DETR", arXiv 2010.04159).

mmcv has it in plain torch, for the CPU; that serves here on every device. The backward computes the
forward again.
"""

from __future__ import annotations

from torch import Tensor

from transfer.operators.float_types import widened
from transfer.operators.recomputed import write_gradients


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """The weighted sum of samples of all levels.

    Args:
        value: (B, S, M, D), the pixels of all levels, one level after another, for M heads.
        value_spatial_shapes: (L, 2), height and width of each level.
        value_level_start_index: Unused: it follows from the shapes.
        sampling_locations: (B, Q, M, L, P, 2), x and y, 0 to 1 within a level.
        attention_weights: (B, Q, M, L, P).
        im2col_step: Unused.

    Returns:
        (B, Q, M D), in the type of ``value``.
    """
    sampled = _sampled(
        widened(value),
        value_spatial_shapes,
        widened(sampling_locations),
        widened(attention_weights),
    )
    return sampled.to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """All gradients of :func:`ms_deform_attn_forward`, written into ``grad_*``."""
    write_gradients(
        lambda *tensors: _sampled(tensors[0], value_spatial_shapes, *tensors[1:]),
        (value, sampling_locations, attention_weights),
        grad_output,
        (grad_value, grad_sampling_loc, grad_attn_weight),
    )


def _sampled(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    sizes = shapes.tolist()  # on a GPU, one wait instead of two a level
    return multi_scale_deformable_attn_pytorch(value, sizes, locations, weights)
