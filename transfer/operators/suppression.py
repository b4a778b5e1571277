"""Non-maximum suppression: hard, soft, and with the boxes that each box suppresses.

Soft-NMS: Bodla et al., ICCV 2017 (arXiv 1704.04503). Groups: "Prime Sample Attention in Object
Detection" (arXiv 1904.04821) ranks the boxes of one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from transfer.operators.float_types import widened

_HARD, _LINEAR, _GAUSSIAN = 0, 1, 2  # mmcv's numbers of soft-NMS's methods


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


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    *,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Suppression that lowers the scores of overlapping boxes, one box after another.

    Args:
        boxes: (N, 4), x1 y1 x2 y2 in pixels, on the CPU.
        scores: (N,), on the CPU.
        dets: (N, 5); its first K rows are overwritten by the boxes kept and their new scores.
        iou_threshold: Smaller overlaps lower no score, except with the Gaussian.
        sigma: The Gaussian's σ: scores are multiplied by exp(-IoU² / σ).
        min_score: Boxes whose score falls below it are dropped.
        method: 0 drops overlapping boxes, 1 multiplies their scores by 1 - IoU, 2 is the Gaussian.
        offset: As for :func:`nms`.

    Returns:
        Indices of the boxes kept, (K,), best new score first.
    """
    boxes, scores = widened(boxes), widened(scores).clone()
    left = torch.arange(len(boxes))
    kept: list[int] = []
    while len(left):
        best = int(scores[left].argmax())
        chosen = int(left[best])
        dets[len(kept), :4] = boxes[chosen]
        dets[len(kept), 4] = scores[chosen]
        kept.append(chosen)
        left = torch.cat([left[:best], left[best + 1 :]])
        overlap = _overlaps(boxes[chosen], boxes[left], offset)
        if method == _GAUSSIAN:
            weight = torch.exp(-overlap.square() / sigma)
        else:
            lowered = torch.zeros_like(overlap) if method == _HARD else 1 - overlap
            weight = torch.where(overlap >= iou_threshold, lowered, 1)
        scores[left] *= weight
        left = left[scores[left] >= min_score]
    return torch.tensor(kept, dtype=torch.long)


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Non-maximum suppression that keeps, with each box, those that it suppresses.

    Args:
        dets: (N, 5), x1 y1 x2 y2 in pixels and the score, on the CPU.
        iou_threshold: A box belongs to the best one that it overlaps by at least this, 0 to 1.

    Returns:
        Indices of each group, best score first.
    """
    boxes = widened(dets)
    left = boxes[:, 4].argsort(descending=True, stable=True)
    groups: list[list[int]] = []
    while len(left):
        first, rest = left[:1], left[1:]
        matched = _overlaps(boxes[first[0], :4], boxes[rest, :4], 0) >= iou_threshold
        groups.append([*first.tolist(), *rest[matched].tolist()])
        left = rest[~matched]
    return groups


def _overlaps(box: Tensor, others: Tensor, offset: int) -> Tensor:
    """IoU of a box (4,) with others (N, 4), (N,); 0 where neither has an area."""
    inner = torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])
    inter = (inner + offset).clamp(min=0).prod(dim=1)
    area, areas = ((each[..., 2:] - each[..., :2] + offset).prod(dim=-1) for each in (box, others))
    return (inter / (area + areas - inter)).nan_to_num(0)
