"""mmcv's compiled operators, provided by torchvision if mmcv was installed without them.

``pip install onedl-mmcv`` gives a pure-Python mmcv: ``mmcv._ext`` is missing and importing
``mmdet.models`` fails. Faster R-CNN and FCN need three of its operators, and torchvision has all
three. :func:`install` puts a module of that name in its place, unless the real one exists.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import NoReturn

import torch
import torchvision  # noqa: F401  (registers its operators with torch)
from torch import Tensor

NAME = "mmcv._ext"
_AVERAGE_POOLING = 1  # mmcv passes 0 for max and 1 for average


def install() -> str:
    """Make mmcv's operators importable.

    Returns:
        The provider: ``"mmcv"`` (compiled, left untouched) or ``"torchvision"``.
    """
    if NAME in sys.modules:
        return "torchvision" if isinstance(sys.modules[NAME], _StandIn) else "mmcv"
    if importlib.util.find_spec(NAME) is not None:
        return "mmcv"
    stand_in = _StandIn(NAME)
    sys.modules[NAME] = stand_in
    # mmcv.ops looks the module up by its spec; ``import mmcv._ext`` also sets the attribute.
    import mmcv

    mmcv._ext = stand_in
    return "torchvision"


class _StandIn(ModuleType):
    """Three operators from torchvision; any other name raises a clear error when called."""

    def __init__(self, name: str) -> None:
        super().__init__(name, doc=__doc__)
        self.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)
        self.nms = nms
        self.roi_align_forward = roi_align_forward
        self.roi_align_backward = roi_align_backward

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith("__"):
            raise AttributeError(name)

        def missing(*args: object, **kwargs: object) -> NoReturn:
            raise NotImplementedError(
                f"mmcv's operator '{name}' is not compiled here and torchvision has no "
                "counterpart for it; install an mmcv with its operators compiled "
                "(MMCV_WITH_OPS=1 pip install --no-build-isolation --no-binary onedl-mmcv "
                "onedl-mmcv) or choose a model that does not need it."
            )

        return missing


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4), x1 y1 x2 y2 in pixels.
        scores: (N,).
        iou_threshold: Boxes that overlap a better one by more than this are dropped, 0 to 1.
        offset: 1 if a box's width is x2 - x1 + 1 (mmdet 1.x), else 0.

    Returns:
        Indices of the boxes kept, (K,), best first.
    """
    from torchvision.ops import nms as keep

    boxes = boxes.float()
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return keep(boxes, scores.float(), float(iou_threshold))


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign, average pooling, written into ``output`` as mmcv expects.

    Args:
        input: (B, C, H, W) feature map.
        rois: (K, 5), batch index and x1 y1 x2 y2 in image pixels.
        output: (K, C, aligned_height, aligned_width), overwritten.
        argmax_y: Unused, only for max pooling.
        argmax_x: Unused, only for max pooling.
        aligned_height: Bins along y.
        aligned_width: Bins along x.
        spatial_scale: Map pixels per image pixel.
        sampling_ratio: Samples per bin and axis; 0 takes one per pixel of the bin.
        pool_mode: 1 for average; 0 (max) is refused.
        aligned: Whether the half-pixel shift is applied.
    """
    _average_only(pool_mode)
    pooled = torch.ops.torchvision.roi_align(
        *_one_type(input, rois),
        spatial_scale,
        aligned_height,
        aligned_width,
        sampling_ratio,
        aligned,
    )
    output.copy_(pooled)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """The gradient of :func:`roi_align_forward`, written into ``grad_input`` (B, C, H, W)."""
    _average_only(pool_mode)
    gradient = torch.ops.torchvision._roi_align_backward(
        *_one_type(grad_output, rois),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.copy_(gradient)


def _one_type(features: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one floating-point type that torchvision supports on this device.

    Its kernels do not support bfloat16, nor float16 on the CPU, so the computation is done in
    float32. Autocast does that only for the forward operator, and only if it is on.
    """
    lacking = (torch.bfloat16, torch.float16) if features.is_cpu else (torch.bfloat16,)
    if features.dtype in lacking:
        features = features.float()
    return features.contiguous(), rois.to(features.dtype).contiguous()


def _average_only(pool_mode: int) -> None:
    if pool_mode != _AVERAGE_POOLING:
        raise NotImplementedError(
            "RoIAlign with pool_mode='max' is not supported by torchvision; use pool_mode='avg', "
            "or "
            "install an mmcv with its operators compiled."
        )
