"""Non-maximum suppression on the CPU, group by group.

A detector moves the boxes of different levels or classes apart before it suppresses them together,
and torchvision's CPU kernel compares every box it keeps with all that follow. Boxes whose extents
along x do not meet cannot suppress each other, so each such group is done by itself: the same boxes
in the same order.
"""

from __future__ import annotations

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor

from transfer.engine import operators


@HOOKS.register_module()
class GroupedNms(Hook):
    """Let the toolboxes suppress group by group where torchvision serves their operators."""

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Put it in the place of the plain operator."""
        operators.serve_nms(grouped_nms)

    def after_run(self, runner: Any) -> None:
        """Put the plain operator back."""
        operators.serve_nms(operators.nms)


def grouped_nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """As :func:`transfer.engine.operators.nms`, to the last index."""
    boxes = boxes.float()
    if boxes.device.type != "cpu" or len(boxes) < 2 or not torch.isfinite(boxes).all():
        return operators.nms(boxes, scores, iou_threshold, offset)
    order = scores.float().argsort(stable=True, descending=True)
    groups = _groups(boxes[order], offset)
    if len(groups) == 1:
        return operators.nms(boxes, scores, iou_threshold, offset)
    kept = torch.zeros(len(boxes), dtype=torch.bool)
    for members in groups:
        chosen = order[members]
        best = operators.nms(boxes[chosen], scores[chosen], iou_threshold, offset)
        kept[members[best]] = True
    return order[kept]


def _groups(boxes: Tensor, offset: int) -> tuple[Tensor, ...]:
    """Positions of boxes by group, each ascending; extents of two groups at most touch."""
    left = boxes[:, 0::2].amin(dim=1)
    right = boxes[:, 0::2].amax(dim=1) + offset
    from_left = left.argsort()
    reached = right[from_left].cummax(dim=0).values
    starts = torch.nn.functional.pad(left[from_left][1:] >= reached[:-1], (1, 0))
    group = torch.empty(len(boxes), dtype=torch.long)
    group[from_left] = starts.cumsum(dim=0)
    sizes = group.bincount().tolist()
    return group.argsort(stable=True).split(sizes)
