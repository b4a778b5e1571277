"""A segmentation head's upsampling, cross-entropy and accuracy, strip by strip.

The toolbox upsamples all logits to the size of the labels and keeps them, their log-softmax and two
gradients of that size, so memory traffic dominates the cost. Bilinear upsampling is a product with
one matrix along y and one along x, and the gradient of cross-entropy is softmax minus one-hot. So a
strip of rows is upsampled, evaluated and brought back to the small map while it is in the cache. On
a GPU a strip is a whole image: two passes over its logits instead of a dozen over those of all
images, and no search for the best class of each pixel. The values equal the toolbox's up to
rounding; under autocast they are computed in float32, where the toolbox upsamples in lower
precision.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.models.losses.cross_entropy_loss import cross_entropy
from torch import Tensor
from torch.nn import functional

from transfer.speed.part import Inactive, Part, first_unlike

_STRIP = 1 << 18
"""Upsampled logits of a strip: one MiB in float32, which fits second-level caches."""

_EPSILON = torch.finfo(torch.float32).eps  # what the toolbox adds to its divisors


class FusedSegmentationLoss(Part):
    """Replaces the losses of a model's heads if they are plain cross-entropies."""

    def install(self, runner: Any) -> str:
        """Replace the loss of the heads."""
        heads = [head for head in runner.model.modules() if isinstance(head, BaseDecodeHead)]
        fit = [head for head in heads if not unlike(head)]
        if not fit:
            raise Inactive(unlike(heads[0]) if heads else "the model has no segmentation head")
        for head in fit:
            head.loss_by_feat = _Loss(head)
        return f"losses of {len(fit)} of {len(heads)} segmentation heads"


def unlike(head: BaseDecodeHead) -> str:
    """Why a loss is not an unweighted softmax cross-entropy of all pixels; empty if it is."""
    return first_unlike(_requirements(head))


def _requirements(head: BaseDecodeHead) -> Iterator[tuple[bool, str]]:
    own, loss = type(head).loss_by_feat is BaseDecodeHead.loss_by_feat, head.loss_decode
    yield own, f"{type(head).__name__} has its own loss computation"
    yield head.sampler is None, "pixels are sampled for the loss"
    yield type(loss) is CrossEntropyLoss, "the loss is not one CrossEntropyLoss"
    yield loss.cls_criterion is cross_entropy, "the cross-entropy is not softmax's"
    yield loss.reduction == "mean", "the loss is not a mean"
    yield loss.class_weight is None, "classes are weighted in the loss"


class _Loss:
    """A head's ``loss_by_feat``."""

    def __init__(self, head: BaseDecodeHead) -> None:
        self.head = head

    def __call__(self, seg_logits: Tensor, batch_data_samples: list[Any]) -> dict[str, Tensor]:
        head = self.head
        labels = head._stack_batch_gt(batch_data_samples).squeeze(1)
        judged = (labels != head.ignore_index).sum()
        total, right = _CrossEntropy.apply(
            seg_logits, labels, head.ignore_index, bool(head.align_corners)
        )
        divisor = judged if head.loss_decode.avg_non_ignore else labels.numel()
        loss = head.loss_decode.loss_weight * total / (divisor + _EPSILON)
        accuracy = (right + _EPSILON) * (100.0 / (judged + _EPSILON))
        return {head.loss_decode.loss_name: loss, "acc_seg": accuracy.reshape(1)}


class _CrossEntropy(torch.autograd.Function):
    """Summed cross-entropy of upsampled logits, and the number of correct pixels.

    The gradient is computed with the value, since the strips are not kept. If two classes have
    equal scores, the pixel is correct if one of them is its label.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, ignored: int, align_corners: bool
    ) -> tuple[Tensor, Tensor]:
        height, width = labels.shape[1:]
        device = logits.device
        down = _interpolation(logits.shape[2], height, align_corners, device)
        across = _interpolation(logits.shape[3], width, align_corners, device)
        gradient = torch.empty(logits.shape, device=device)
        total, right = gradient.new_zeros(()), gradient.new_zeros(())
        with torch.autocast(device.type, enabled=False):
            for image, label, out in zip(logits.float(), labels, gradient, strict=True):
                wide = image.contiguous() @ across.T
                image_total, image_right, image_gradient = _judge(wide, label, down, ignored)
                total += image_total
                right += image_right
                torch.matmul(image_gradient, across, out=out)
        ctx.save_for_backward(gradient)
        ctx.dtype = logits.dtype
        ctx.mark_non_differentiable(right)
        return total, right

    @staticmethod
    def backward(ctx: Any, of_total: Tensor, of_right: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * of_total).to(ctx.dtype), None, None, None


def _judge(wide: Tensor, labels: Tensor, down: Tensor, ignored: int) -> tuple[Tensor, ...]:
    """One image's loss, correct pixels and gradient.

    Args:
        wide: (C, h, W), logits upsampled along x.
        labels: (H, W), classes, or ``ignored``.
        down: (H, h), the upsampling along y.
        ignored: Label of ignored pixels.

    Returns:
        Both sums and the gradient with respect to ``wide``.
    """
    if not wide.is_cpu:
        return _judge_strip(wide, labels, down, ignored)
    total, right, gradient = torch.zeros(()), torch.zeros(()), torch.zeros_like(wide)
    rows = max(1, _STRIP // (wide.shape[0] * wide.shape[2]))
    for start in range(0, len(labels), rows):
        part, label = down[start : start + rows], labels[start : start + rows]
        touched = part.any(dim=0).nonzero()  # few adjacent rows of the small map
        near = slice(int(touched[0]), int(touched[-1]) + 1)
        of_strip = _judge_strip(wide[:, near], label, part[:, near], ignored)
        total += of_strip[0]
        right += of_strip[1]
        gradient[:, near] += of_strip[2]
    return total, right, gradient


def _judge_strip(wide: Tensor, labels: Tensor, down: Tensor, ignored: int) -> tuple[Tensor, ...]:
    """Like :func:`_judge`, for the whole image at once."""
    counts = (labels != ignored).float()
    index = torch.where(labels != ignored, labels, 0)[None]
    scores = down @ wide
    best = scores.amax(dim=0)
    own = scores.gather(0, index)[0]
    share = scores.sub_(best).exp_()
    norm = share.sum(dim=0)
    total = ((norm.log() + best - own) * counts).sum()
    right = ((own >= best) * counts).sum()
    share.mul_(counts / norm).scatter_add_(0, index, -counts[None])
    return total, right, down.T @ share


@cache
def _interpolation(small: int, large: int, align_corners: bool, device: torch.device) -> Tensor:
    """The (large, small) matrix of linear interpolation, as in torch on the CPU."""
    unit = torch.eye(small)[None, :, None]  # one channel per pixel, one row high
    spread = functional.interpolate(unit, (1, large), mode="bilinear", align_corners=align_corners)
    return spread[0, :, 0].T.contiguous().to(device)
