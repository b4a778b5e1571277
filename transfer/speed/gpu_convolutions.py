"""What a GPU's convolutions need not ask cuDNN for.

For each convolution of maps of a new size cuDNN chooses how to compute it, which takes the host
milliseconds; a detector's images come in dozens of sizes, and so do the images of a test.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from backbones.runtime.precision import computed_in
from transfer.speed.part import Inactive, Part, computed_dtype, require_gpu


class NoBenchmarkInEvaluation(Part):
    """Let cuDNN choose by its rules in evaluations, whatever ``cudnn_benchmark`` says.

    To try its ways out pays where all images have one size, as a segmenter's crops have. A test's
    images have sizes of their own, and to try costs some ten times what an image does.
    """

    def install(self, runner: Any) -> str:
        """Nothing is replaced before an evaluation."""
        require_gpu(runner)
        return "cuDNN tries nothing out in evaluations"

    def before_evaluation(self) -> None:
        """Try nothing out from here on."""
        self._tries = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = False

    def after_evaluation(self) -> None:
        """As it was before."""
        torch.backends.cudnn.benchmark = self._tries


class PointwiseProducts(Part):
    """Compute 1 × 1 convolutions in bfloat16 on a GPU as the matrix products that they are.

    cuBLAS multiplies maps of any size without a plan for each. Sums are kept in float32 throughout,
    as cuDNN keeps them: torch would let cuBLAS round parts of long ones to bfloat16. In float32
    convolutions stay as they are, since torch computes them in TF32 and products not.
    """

    def install(self, runner: Any) -> str:
        """Replace the forward pass of the layers."""
        require_gpu(runner)
        if computed_dtype(runner) is not torch.bfloat16:
            raise Inactive("it is for bfloat16")
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        layers = [layer for layer in runner.model.modules() if is_pointwise(layer)]
        for layer in layers:
            layer.forward = partial(_forward, layer)
        return f"1 × 1 convolutions: {len(layers)}"


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
