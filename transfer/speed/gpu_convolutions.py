"""Avoids needless cuDNN searches for convolutions on a GPU.

For each convolution of maps with a new size, cuDNN chooses an algorithm, which takes milliseconds
on the host; a detector's images come in dozens of sizes, and so do test images.
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
    """Lets cuDNN choose by heuristics in evaluations, whatever ``cudnn_benchmark`` is.

    Trying algorithms pays off if all images have the same size, such as a segmenter's crops. Test
    images vary in size, and a trial costs some ten times as much as an image.
    """

    def install(self, runner: Any) -> str:
        """Replace nothing before an evaluation."""
        require_gpu(runner)
        return "cuDNN runs no benchmarks in evaluations"

    def before_evaluation(self) -> None:
        """Turn off benchmarks."""
        self._tries = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = False

    def after_evaluation(self) -> None:
        """Restore the setting."""
        torch.backends.cudnn.benchmark = self._tries


class PointwiseProducts(Part):
    """Computes 1 × 1 convolutions in bfloat16 on a GPU as matrix products.

    cuBLAS multiplies maps of any size without a plan for each. Sums stay in float32 throughout, as
    in cuDNN: by default torch lets cuBLAS round parts of long sums to bfloat16. Float32
    convolutions stay unchanged, since torch computes them in TF32 but products not.
    """

    def install(self, runner: Any) -> str:
        """Replace the forward pass of the layers."""
        require_gpu(runner)
        if computed_dtype(runner) is not torch.bfloat16:
            raise Inactive("it applies only to bfloat16")
        torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
        layers = [layer for layer in runner.model.modules() if is_pointwise(layer)]
        for layer in layers:
            layer.forward = partial(_forward, layer)
        return f"1 × 1 convolutions: {len(layers)}"


def is_pointwise(layer: nn.Module) -> bool:
    """Whether a layer is a convolution with a 1 × 1 kernel."""
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
    """The output of a layer that :func:`is_pointwise`, as one matrix product.

    Args:
        layer: The layer, from C to F channels.
        maps: (B, C, H, W); not copied if channels-last, unless the layer has a stride.

    Returns:
        (B, F, H', W'), laid out channels-last.
    """
    down, across = layer.stride
    inner = maps[:, :, ::down, ::across].permute(0, 2, 3, 1)
    rows = inner.reshape(-1, inner.shape[3])
    found = functional.linear(rows, layer.weight.flatten(1), layer.bias)
    return found.view(*inner.shape[:3], layer.out_channels).permute(0, 3, 1, 2)
