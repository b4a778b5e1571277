"""Non-maximum suppression on the CPU, group by group.

A detector moves the boxes of different levels or classes apart before it suppresses them together,
and torchvision's CPU kernel compares every kept box with all that follow. Boxes whose extents along
x do not meet cannot suppress each other, so each such group is processed separately. A region
proposal network then takes the best thousand of the rest, and only better boxes suppress a box, so
the worse half need not be examined. The result is the same boxes in the same order.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from mmdet.models.dense_heads import RPNHead
from mmengine.config import ConfigDict
from torch import Tensor

from transfer.speed import mmcv_ops
from transfer.speed.part import Inactive, Part, require_cpu

_SPLIT = 10_000
"""Number of boxes from which mmcv suppresses class by class, then sorts all, unstably."""

_most: ContextVar[int | None] = ContextVar("most", default=None)
"""Number of kept boxes that are used; None for all."""


class GroupedNms(Part):
    """Makes the toolboxes suppress group by group if torchvision provides their operators."""

    def install(self, runner: Any) -> str:
        """Replace the operator, and pass it the number of proposals."""
        require_cpu(runner)
        if not mmcv_ops.serve_nms(grouped_nms):
            raise Inactive("mmcv has compiled operators")
        heads = [head for head in runner.model.modules() if type(head) is RPNHead]
        for head in heads:
            head._bbox_post_process = partial(_post_process, head)
        return f"NMS, with a limited number of proposals in {len(heads)} heads"

    def after_run(self) -> None:
        """Restore the plain operator."""
        mmcv_ops.serve_nms(mmcv_ops.nms)


def _post_process(head: RPNHead, results: Any, cfg: ConfigDict, *rest: Any, **named: Any) -> Any:
    """A head's ``_bbox_post_process``: it suppresses boxes and then takes the best."""
    together = len(results) < (cfg.nms or {}).get("split_thr", _SPLIT)  # None suppresses nothing
    token = _most.set(cfg.max_per_img if together and cfg.max_per_img > 0 else None)
    try:
        return RPNHead._bbox_post_process(head, results, cfg, *rest, **named)
    finally:
        _most.reset(token)


def grouped_nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Like :func:`transfer.speed.mmcv_ops.nms`, up to the last index that is used."""
    boxes, most = boxes.float(), _most.get() or len(boxes)
    if boxes.device.type != "cpu" or len(boxes) < 2 or not torch.isfinite(boxes).all():
        return mmcv_ops.nms(boxes, scores, iou_threshold, offset)
    order = scores.float().argsort(stable=True, descending=True)
    boxes, scores = boxes[order], scores[order]
    count = 3 * most
    while True:
        kept = _kept(boxes[:count], scores[:count], iou_threshold, offset)
        if count >= len(boxes) or len(kept) >= most:
            return order[kept[:most]]
        count *= 2


def _kept(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Ascending positions of the kept boxes, for boxes ordered by score."""
    kept = torch.zeros(len(boxes), dtype=torch.bool)
    for members in _groups(boxes, offset):
        best = mmcv_ops.nms(boxes[members], scores[members], iou_threshold, offset)
        kept[members[best]] = True
    return kept.nonzero()[:, 0]


def _groups(boxes: Tensor, offset: int) -> tuple[Tensor, ...]:
    """Positions of boxes by group, each ascending; two groups do not overlap."""
    left = boxes[:, 0::2].amin(dim=1)
    right = boxes[:, 0::2].amax(dim=1) + offset
    from_left = left.argsort()
    reached = right[from_left].cummax(dim=0).values
    starts = torch.nn.functional.pad(left[from_left][1:] >= reached[:-1], (1, 0))
    group = torch.empty(len(boxes), dtype=torch.long)
    group[from_left] = starts.cumsum(dim=0)
    sizes = group.bincount().tolist()
    return group.argsort(stable=True).split(sizes)
