"""Average precision at IoU 0.5 in both forms of Pascal VOC's devkit.

Each detection, best score first, is compared with the object of its class that it overlaps most. If
they overlap by half, the first such detection is right and every further one is wrong; if the
object is difficult, the detection is neither. Difficult objects are not counted. (``VOCevaldet.m``
of the devkit, MMDetection's ``tpfp_default`` and GluonCV's ``VOCMApMetric`` agree on all of this.)

Boxes are in whole pixels with both ends inside: a width is x2 − x1 + 1, as in all three of them and
in every protocol here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]

IOU_THRESHOLD = 0.5
RIGHT, WRONG, NEITHER = 1, 0, -1
RECALLS = np.arange(0.0, 1.0 + 1e-3, 0.1)
"""VOC2007's thresholds as both toolboxes write them, including .30000000000000004, so that figures
equal theirs when a recall meets a threshold exactly."""


def judge(
    boxes: FloatArray, scores: FloatArray, truth: FloatArray, difficult: FloatArray
) -> npt.NDArray[np.int8]:
    """Judge the detections of one class in one image.

    Args:
        boxes: (N, 4) detections, x1 y1 x2 y2 in pixels.
        scores: (N,); equal scores keep their order in the list.
        truth: (M, 4) objects.
        difficult: (K, 4) difficult objects.

    Returns:
        (N,) of ``RIGHT``, ``WRONG`` and ``NEITHER``, in the order of ``boxes``.
    """
    outcome = np.full(len(boxes), WRONG, np.int8)
    objects = np.concatenate([truth, difficult])
    if not len(objects) or not len(boxes):
        return outcome
    overlap = iou(boxes, objects)
    nearest = overlap.argmax(axis=1)
    met = np.zeros(len(truth), bool)
    for index in np.argsort(-scores, kind="stable"):
        thing = nearest[index]
        if overlap[index, thing] < IOU_THRESHOLD:
            continue
        if thing >= len(truth):
            outcome[index] = NEITHER
        elif not met[thing]:
            outcome[index] = RIGHT
            met[thing] = True
    return outcome


def iou(boxes: FloatArray, others: FloatArray) -> FloatArray:
    """(N, M) intersection over union of (N, 4) and (M, 4) boxes, both ends inside."""
    boxes, others = boxes.astype(float), others.astype(float)
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (high - low + 1).clip(min=0).prod(axis=2)
    areas = [(part[:, 2:] - part[:, :2] + 1).prod(axis=1) for part in (boxes, others)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def average_precision(right: npt.NDArray[np.bool_], objects: int, form: str) -> float:
    """Average precision of one class, 0 to 1.

    Args:
        right: (N,) whether each detection is right, best score first, without those that are
            neither right nor wrong.
        objects: Number of objects, 1 or more.
        form: ``"11points"``, mean of the best precision from each recall 0, .1, … 1 on (VOC2007);
            ``"area"``, area under that precision over recall (VOC2010 and later).
    """
    found = np.cumsum(right)
    recall = found / objects
    precision = found / np.arange(1, len(right) + 1)
    best_from = np.maximum.accumulate(precision[::-1])[::-1]
    if form == "area":
        return float(np.sum(np.diff(recall, prepend=0.0) * best_from))
    reached = np.searchsorted(recall, RECALLS)
    return float(np.append(best_from, 0.0)[reached].mean())
