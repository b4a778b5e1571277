"""What a GPU's convolutions need not ask cuDNN for.

For each convolution of maps of a new size cuDNN chooses how to compute it, which takes the host
milliseconds; a detector's images come in dozens of sizes, and so do the images of a test.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor, nn
from torch.nn import functional

from backbones.runtime.checkpoint import unwrapped
from backbones.runtime.precision import computed_in


@HOOKS.register_module()
class NoBenchmarkInEvaluation(Hook):
    """Let cuDNN choose by its rules in evaluations, whatever ``cudnn_benchmark`` says.

    To try its ways out pays where all images have one size, as a segmenter's crops have. A test's
    images have sizes of their own, and to try costs some ten times what an image does.
    """

    priority = "VERY_HIGH"

    def before_val(self, runner: Any) -> None:
        """Try nothing out from here on."""
        self._tries = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = False

    def after_val(self, runner: Any) -> None:
        """As it was before."""
        torch.backends.cudnn.benchmark = self._tries


@HOOKS.register_module()
class PointwiseProducts(Hook):
    """Compute 1 × 1 convolutions in bfloat16 on a GPU as the matrix products that they are.

    cuBLAS multiplies maps of any size without a plan for each. Sums are kept in float32 throughout,
    as cuDNN keeps them: torch would let cuBLAS round parts of long ones to bfloat16. In float32
    convolutions stay as they are, since torch computes them in TF32 and products not.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Put it in the place of the layers' own."""
        model = unwrapped(runner.model)
        if not next(model.parameters()).is_cuda:
            return
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        for layer in model.modules():
            if is_pointwise(layer) and "forward" not in vars(layer):
                layer.forward = partial(_forward, layer)


def is_pointwise(layer: nn.Module) -> bool:
    """Whether a layer is a convolution that looks at single positions."""
    return (
        type(layer) is nn.Conv2d
        and layer.kernel_size == (1, 1)
        and layer.padding == (0, 0)
        and layer.groups == 1
    )


def _forward(layer: nn.Conv2d, maps: Tensor) -> Tensor:
    """A layer's ``forward``."""
    if maps.is_cuda and maps.dim() == 4 and computed_in(maps) is torch.bfloat16:
        return product(layer, maps)
    return nn.Conv2d.forward(layer, maps)


def product(layer: nn.Conv2d, maps: Tensor) -> Tensor:
    """What a layer that :func:`is_pointwise` computes, as one matrix product.

    Args:
        layer: From C to F channels.
        maps: (B, C, H, W); laid out channels-last they are not copied, unless the layer strides.

    Returns:
        (B, F, H', W'), laid out channels-last.
    """
    down, across = layer.stride
    inner = maps[:, :, ::down, ::across].permute(0, 2, 3, 1)
    rows = inner.reshape(-1, inner.shape[3])
    found = functional.linear(rows, layer.weight.flatten(1), layer.bias)
    return found.view(*inner.shape[:3], layer.out_channels).permute(0, 3, 1, 2)
