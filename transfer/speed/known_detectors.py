"""Recognises Faster R-CNN detectors with known parts and losses, which the speed layer supports."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from mmdet.models.dense_heads import RPNHead
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.losses import CrossEntropyLoss, L1Loss, SmoothL1Loss
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from mmdet.models.task_modules.samplers import RandomSampler

from transfer.speed.anchors import SamplesByImage
from transfer.speed.part import first_unlike


def unlike(detector: Any) -> str:
    """Why a detector is not a Faster R-CNN with known parts and losses; empty if it is."""
    return first_unlike(
        chain(_of_detector(detector), _of_proposals(detector), _of_regions(detector))
    )


def _of_detector(detector: Any) -> Iterator[tuple[bool, str]]:
    yield isinstance(detector, TwoStageDetector), "the model is not a two-stage detector"
    own = type(detector).loss is TwoStageDetector.loss
    yield own, f"{type(detector).__name__} has its own loss computation"
    yield detector.with_rpn, "the detector has no proposal head"


def _of_proposals(detector: TwoStageDetector) -> Iterator[tuple[bool, str]]:
    head, proposals = detector.rpn_head, detector.train_cfg.get("rpn_proposal")
    yield type(head) is RPNHead, "the proposal head is not RPNHead"
    anchors = isinstance(head.prior_generator, AnchorGenerator)
    yield anchors and not head.prior_generator.use_box_type, "its anchors are of an unknown kind"
    yield _has_plain_coder(head), "the proposal head has another box coder"
    yield (
        (
            type(head.loss_cls) is CrossEntropyLoss
            and (head.loss_cls.use_sigmoid, head.loss_cls.reduction) == (True, "mean")
            and head.loss_cls.class_weight is None
            and head.train_cfg.pos_weight <= 0
        ),
        "the proposal head's classification loss is not plain binary cross-entropy",
    )
    plain = type(head.loss_bbox) in (L1Loss, SmoothL1Loss)
    yield plain, "the proposal head's box loss is neither L1Loss nor SmoothL1Loss"
    yield type(head.assigner) is MaxIoUAssigner, "anchors are not assigned by MaxIoUAssigner"
    plain = _is_plain_sampler(head.sampler) and not head.sampler.add_gt_as_proposals
    yield plain, "anchors are not sampled by RandomSampler"
    plain = proposals is not None and set(proposals.nms or {}) == {"type", "iou_threshold"}
    plain = plain and proposals.nms.type == "nms" and proposals.max_per_img > 0
    yield plain, "proposals are not limited by plain NMS"


def _of_regions(detector: TwoStageDetector) -> Iterator[tuple[bool, str]]:
    head = detector.roi_head
    yield type(head) is StandardRoIHead, "the RoI head is not StandardRoIHead"
    yield head.with_bbox and not head.with_mask, "the RoI head does not predict only boxes"
    boxes = head.bbox_head
    yield (
        (type(boxes).loss is BBoxHead.loss and type(boxes).get_targets is BBoxHead.get_targets),
        f"{type(boxes).__name__} has its own computation of losses or targets",
    )
    yield _has_plain_coder(boxes), "the RoI head has another box coder"
    yield not boxes.reg_class_agnostic, "the RoI head has one box for all classes"
    yield (
        (
            type(boxes.loss_cls) is CrossEntropyLoss
            and not boxes.loss_cls.use_sigmoid
            and not boxes.custom_activation
        ),
        "the RoI head's classification loss is not softmax cross-entropy",
    )
    plain = type(boxes.loss_bbox) in (L1Loss, SmoothL1Loss)
    yield plain, "the RoI head's box loss is neither L1Loss nor SmoothL1Loss"
    yield type(head.bbox_assigner) is MaxIoUAssigner, "RoIs are not assigned by MaxIoUAssigner"
    yield isinstance(head.bbox_sampler, RandomSampler), "RoIs are not sampled by RandomSampler"


def _is_plain_sampler(sampler: Any) -> bool:
    return (
        isinstance(sampler, RandomSampler)
        and (type(sampler).sample is RandomSampler.sample or isinstance(sampler, SamplesByImage))
        and type(sampler)._sample_pos is RandomSampler._sample_pos
        and type(sampler)._sample_neg is RandomSampler._sample_neg
    )


def _has_plain_coder(head: Any) -> bool:
    coder = head.bbox_coder
    plain = type(coder) is DeltaXYWHBBoxCoder and coder.clip_border and not coder.add_ctr_clamp
    return plain and not coder.use_box_type and not head.reg_decoded_bbox
