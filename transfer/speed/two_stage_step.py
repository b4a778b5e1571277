"""A two-stage detector's training step that rarely waits for the GPU.

The toolbox assigns and samples on the device, where some hundred small operations must be launched
one by one, and many of them awaited because later ones depend on their results. Here boxes stay on
the host, which assigns and samples while the GPU computes the maps, with the toolbox's own
assigners and samplers; only the samples are sent to the GPU. The losses equal the toolbox's up to
rounding: it sums over all anchors with a weight of zero for those that were not sampled.

The computation on whole images comes first and in one piece, with fixed shapes throughout, so that
it can be replayed as a graph (:mod:`transfer.speed.graphed_features`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.losses import accuracy
from mmdet.models.task_modules.prior_generators import anchor_inside_flags
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn import functional

from backbones.runtime.checkpoint import unwrapped
from transfer.operators.suppression import nms
from transfer.speed.anchors import Anchors, Inside
from transfer.speed.known_detectors import unlike
from transfer.speed.part import Inactive, Part, require_gpu
from transfer.speed.pinned import sent
from transfer.speed.sparse_roi_align import SparseRoIExtractor

_KEPT = 16
"""Number of image sizes whose anchors are cached: some five MB each at 1000 pixels."""

_EPSILON = torch.finfo(torch.float32).eps  # what the toolbox adds to its divisors


class HostSampling(Part):
    """Trains a two-stage detector with :class:`TwoStageStep`."""

    def install(self, runner: Any) -> str:
        """Replace the detector's ``loss``."""
        detector = unwrapped(runner.model)
        if reason := unlike(detector):
            raise Inactive(reason)
        require_gpu(runner)
        detector.loss = TwoStageStep(detector)
        return "the detector's loss; boxes are sampled on the host"


Sizes = tuple[tuple[int, int], ...]
"""Height and width of each level's map."""


class WholeImages(NamedTuple):
    """The results of the computation on whole images.

    Attributes:
        maps: (B, C, H, W) of each level.
        scores: (B, N), logits of all anchors, level by level, in float32.
        deltas: (B, N, 4), box deltas of all anchors, in float32.
        candidates: (B, K, 6), the best boxes before any is suppressed, best first: x1 y1 x2 y2 in
            pixels, score, and 1 where the box is large enough; other boxes are empty.
        apart: (B, K, 4), the same boxes, moved so that those of different levels do not overlap.
    """

    maps: tuple[Tensor, ...]
    scores: Tensor
    deltas: Tensor
    candidates: Tensor
    apart: Tensor

    @property
    def sizes(self) -> Sizes:
        """Sizes of the maps."""
        return tuple((each.shape[2], each.shape[3]) for each in self.maps)


class TwoStageStep:
    """A detector's ``loss``.

    Args:
        detector: A detector that :func:`unlike` accepts.

    Attributes:
        takes_boxes_on_host: Marks that boxes need not be sent to a GPU.
        detector: The detector.
        whole_images: Computes :class:`WholeImages` of (B, 3, H, W) images and the (B, 2) heights
            and widths that boxes are clipped to.
        anchors: Anchors for map :data:`Sizes` and a device; the last few are cached.
    """

    takes_boxes_on_host = True

    def __init__(self, detector: TwoStageDetector) -> None:
        self.detector = detector
        self.whole_images: Callable[[Tensor, Tensor], WholeImages] = self.compute
        self.anchors = lru_cache(maxsize=_KEPT)(self._make_anchors)
        on_host = partial(self._make_anchors, device=torch.device("cpu"))
        self._host_anchors = lru_cache(maxsize=_KEPT)(on_host)
        self._inside = lru_cache(maxsize=_KEPT)(self._find_inside)

    def __call__(self, batch_inputs: Tensor, batch_data_samples: list[Any]) -> dict[str, Tensor]:
        """The losses of a batch, by name."""
        truths, ignored, metas = unpack_gt_instances(batch_data_samples)
        truths, ignored = [_on_host(each) for each in truths], [_on_host(each) for each in ignored]
        limits = torch.tensor([meta["img_shape"][:2] for meta in metas], dtype=torch.float32)
        whole = self.whole_images(batch_inputs, sent(batch_inputs.device, limits))
        sizes = whole.sizes
        losses = self._rpn_losses(
            sizes, whole.scores, whole.deltas, truths=truths, ignored=ignored, metas=metas
        )
        proposals = [
            self._suppressed(candidates, apart)
            for candidates, apart in zip(
                whole.candidates.detach(), whole.apart.detach(), strict=True
            )
        ]
        return {**losses, **self._roi_losses(whole.maps, proposals, truths, ignored)}

    def compute(self, images: Tensor, limits: Tensor) -> WholeImages:
        """Maps, the proposals' scores and deltas, and the best boxes, without waiting."""
        maps = self.detector.extract_feat(images)
        scores, deltas = self.detector.rpn_head(maps)
        sizes = tuple((each.shape[2], each.shape[3]) for each in scores)
        flat = _flat(scores, deltas)
        with torch.no_grad():
            found = self.candidates(*flat, sizes, limits)
        return WholeImages(tuple(maps), *flat, *found)

    def candidates(
        self, scores: Tensor, deltas: Tensor, sizes: Sizes, limits: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The best boxes of each level, decoded, in the order of their scores.

        Args:
            scores: (B, N), as in :class:`WholeImages`.
            deltas: (B, N, 4), likewise.
            sizes: Sizes of the maps.
            limits: (B, 2), heights and widths that boxes are clipped to.

        Returns:
            ``candidates`` and ``apart`` of :class:`WholeImages`.
        """
        cfg, anchors = self.detector.train_cfg.rpn_proposal, self.anchors(sizes, scores.device)
        best, places, levels = [], [], []
        starts = [0]
        for level, count in enumerate(anchors.counts):
            of_level = scores[:, starts[-1] : starts[-1] + count].sigmoid()
            of_level, place = of_level.sort(dim=1, descending=True)
            taken = min(count, cfg.nms_pre) if cfg.nms_pre > 0 else count
            best.append(of_level[:, :taken])
            places.append(place[:, :taken] + starts[-1])
            levels.append(anchors.levels[level].expand(len(scores), taken))
            starts.append(starts[-1] + count)
        score, order = torch.cat(best, dim=1).sort(dim=1, descending=True, stable=True)
        place = torch.cat(places, dim=1).gather(1, order)
        owner = torch.cat(levels, dim=1).gather(1, order)
        boxes = anchors.decode(anchors.boxes[place], _rows(deltas, place), limits)
        least = cfg.get("min_bbox_size", -1)
        sides = boxes[..., 2:] - boxes[..., :2]
        large = (sides > least).all(dim=2) if least >= 0 else torch.ones_like(score).bool()
        boxes = boxes * large[..., None]
        step = boxes.flatten(1).amax(dim=1)[:, None] + 1
        apart = boxes + (owner * step)[..., None]
        return torch.cat([boxes, score[..., None], large[..., None]], dim=2), apart

    def _suppressed(self, candidates: Tensor, apart: Tensor) -> Tensor:
        """One image's proposals on the host, (P, 4), best first.

        Only better boxes suppress a box, so the best are examined first, and all of them only
        if too few are left.
        """
        cfg = self.detector.train_cfg.rpn_proposal
        count: int = 3 * cfg.max_per_img
        while True:
            scores = candidates[:count, 4].contiguous()
            kept = nms(apart[:count], scores, cfg.nms.iou_threshold, 0)
            rows = candidates.index_select(0, kept).cpu()
            proposals = rows[rows[:, 5] > 0, :4][: cfg.max_per_img]
            if count >= len(candidates) or len(proposals) == cfg.max_per_img:
                return proposals
            count = len(candidates)

    def _rpn_losses(
        self,
        sizes: Sizes,
        scores: Tensor,
        deltas: Tensor,
        *,
        truths: list[InstanceData],
        ignored: list[InstanceData | None],
        metas: list[dict[str, Any]],
    ) -> dict[str, Tensor]:
        """Losses over the sampled anchors, which the host chooses."""
        head, device, total = self.detector.rpn_head, scores.device, scores.shape[1]
        positive, negative, anchors, boxes, averaged = [], [], [], [], 0
        for number, (truth, unjudged, meta) in enumerate(zip(truths, ignored, metas, strict=True)):
            border = head.train_cfg.allowed_border
            shape = tuple(meta["img_shape"][:2]) if border >= 0 else None
            inside = self._inside(sizes, tuple(meta["pad_shape"][:2]), shape)
            objects = InstanceData(bboxes=truth.bboxes, labels=torch.zeros_like(truth.labels))
            sampled = inside.sampled(head.assigner, head.sampler, objects, unjudged)
            positive.append(sampled.positive + number * total)
            negative.append(sampled.negative + number * total)
            anchors.append(sampled.anchors)
            boxes.append(sampled.boxes)
            averaged += max(len(sampled.positive), 1) + max(len(sampled.negative), 1)
        index = sent(device, torch.cat([*positive, *negative]))
        targets = sent(device, head.bbox_coder.encode(torch.cat(anchors), torch.cat(boxes)))
        wanted = torch.zeros(len(index), device=device)
        wanted[: len(targets)] = 1  # positive anchors come first
        sums = functional.binary_cross_entropy_with_logits(
            scores.flatten().index_select(0, index), wanted, reduction="sum"
        )
        of_boxes = head.loss_bbox(
            deltas.flatten(0, 1).index_select(0, index[: len(targets)]),
            targets,
            avg_factor=averaged,
        )
        of_scores = head.loss_cls.loss_weight * sums / (averaged + _EPSILON)
        return {"loss_rpn_cls": of_scores, "loss_rpn_bbox": of_boxes}

    def _roi_losses(
        self,
        maps: tuple[Tensor, ...],
        proposals: list[Tensor],
        truths: list[InstanceData],
        ignored: list[InstanceData | None],
    ) -> dict[str, Tensor]:
        """Losses over the sampled RoIs, which the host chooses."""
        roi_head, head = self.detector.roi_head, self.detector.roi_head.bbox_head
        sampled = []
        for boxes, truth, unjudged in zip(proposals, truths, ignored, strict=True):
            priors = InstanceData(priors=boxes)
            assigned = roi_head.bbox_assigner.assign(priors, truth, unjudged)
            sampled.append(roi_head.bbox_sampler.sample(assigned, priors, truth))
        rois = bbox2roi([each.priors for each in sampled])
        labels, weights, targets, _ = head.get_targets(sampled, roi_head.train_cfg)
        extractor = roi_head.bbox_roi_extractor
        used = maps[: extractor.num_inputs]
        pooling = extractor.forward
        by_level = isinstance(pooling, SparseRoIExtractor) and len(rois) > 0
        if by_level:
            order, counts = pooling.order(rois, used)
            rois, labels, weights, targets = (
                each[order] for each in (rois, labels, weights, targets)
            )
        where = ((labels >= 0) & (labels < head.num_classes)).nonzero()[:, 0]
        averaged = max(float((weights > 0).sum()), 1.0)
        rois, labels, weights, targets, where, of_class = (
            sent(maps[0].device, each)
            for each in (rois, labels, weights, targets[where], where, labels[where])
        )
        pooled = pooling.level_by_level(used, rois, counts) if by_level else extractor(used, rois)
        if roi_head.with_shared_head:
            pooled = roi_head.shared_head(pooled)
        scores, deltas = head(pooled)
        deltas = deltas.view(len(rois), head.num_classes, 4)[where, of_class]
        return {
            "loss_cls": head.loss_cls(scores, labels, weights, avg_factor=averaged),
            "acc": accuracy(scores, labels),
            "loss_bbox": head.loss_bbox(deltas, targets, avg_factor=len(labels)),
        }

    def _make_anchors(self, sizes: Sizes, device: torch.device) -> Anchors:
        head = self.detector.rpn_head
        levels = head.prior_generator.grid_priors(list(sizes), device=device)
        return Anchors(levels, head.bbox_coder.means, head.bbox_coder.stds)

    def _find_inside(
        self, sizes: Sizes, pad_shape: tuple[int, int], image_shape: tuple[int, int] | None
    ) -> Inside:
        """The anchors that training may use, on the host."""
        head, anchors = self.detector.rpn_head, self._host_anchors(sizes)
        valid = torch.cat(head.prior_generator.valid_flags(list(sizes), pad_shape, "cpu"))
        border = head.train_cfg.allowed_border
        inside = anchor_inside_flags(anchors.boxes, valid, image_shape or pad_shape, border)
        if not inside.any():
            raise ValueError(f"no anchor lies within an image of {image_shape or pad_shape} pixels")
        return Inside(anchors, inside)


def _flat(scores: Sequence[Tensor], deltas: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """(B, N) and (B, N, 4) in float32, of (B, A, H, W) and (B, 4A, H, W) of each level."""
    of_scores = [each.permute(0, 2, 3, 1).flatten(1) for each in scores]
    of_deltas = [each.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4)) for each in deltas]
    return torch.cat(of_scores, dim=1).float(), torch.cat(of_deltas, dim=1).float()


def _rows(values: Tensor, place: Tensor) -> Tensor:
    """(B, K, 4) of (B, N, 4), by (B, K) places."""
    return values.gather(1, place[..., None].expand(-1, -1, values.shape[2]))


def _on_host(instances: InstanceData | None) -> InstanceData | None:
    return None if instances is None else instances.cpu()
