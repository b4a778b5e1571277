"""COCO's average precision, computed by pycocotools, on boxes from any layout."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Boxes = dict[str, npt.NDArray[Any]]

_MAX_DETECTIONS = 100
_FORMS = {"coco": slice(None), "coco50": slice(0, 1), "coco75": slice(5, 6)}


@dataclass(frozen=True, kw_only=True)
class JudgedImage:
    """Detections and ground truth of one image.

    Attributes:
        name: Name of the image.
        found: ``bboxes`` (N, 4), ``scores`` (N,) and ``labels`` (N,).
        truth: ``bboxes`` (M, 4), x1 y1 x2 y2 in pixels, and ``labels`` (M,), from 0.
        ignored: Likewise: VOC's difficult objects, COCO's crowds.
        path: Path of its file.
    """

    name: str
    found: Boxes
    truth: Boxes
    ignored: Boxes
    path: str = ""


def coco_average_precision(
    images: Sequence[JudgedImage], classes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """COCO's three average precisions, 0 to 1, for classes with objects.

    Ignored objects are crowds: a detection inside one is neither right nor wrong, as in
    MMDetection's ``CocoMetric`` with VOC's difficult objects. A width is x2 − x1.

    Returns:
        ``"coco"`` (mean over IoU .5 to .95), ``"coco50"`` and ``"coco75"``, each by class.
    """
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, image in enumerate(images):
        truth += _annotations(image.truth, number) + _annotations(image.ignored, number, crowd=1)
        found += _annotations(image.found, number)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints progress
        sides = (_index(boxes, len(images), len(classes)) for boxes in (truth, found))
        evaluation = COCOeval(*sides, "bbox")
        # Sizes are not distinguished, so an annotation's area is not needed.
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [_MAX_DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0]  # IoU, recall, class
    there = [index for index in range(len(classes)) if (precision[:, :, index] > -1).any()]
    return {
        form: {classes[index]: float(precision[ious, :, index].mean()) for index in there}
        for form, ious in _FORMS.items()
    }


def _annotations(part: Boxes, image: int, *, crowd: int = 0) -> list[dict[str, Any]]:
    """Boxes of an image in COCO's format, with scores if there are any."""
    rows = [
        {
            "image_id": image,
            "category_id": label,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": crowd,
        }
        for (x1, y1, x2, y2), label in zip(
            part["bboxes"].tolist(), part["labels"].tolist(), strict=True
        )
    ]
    for row, score in zip(rows, part.get("scores", np.zeros(0)).tolist(), strict=False):
        row["score"] = score
    return rows


def _index(annotations: list[dict[str, Any]], images: int, classes: int) -> COCO:
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number  # 0 would mean "not matched"
    coco = COCO()
    coco.dataset = {
        "images": [{"id": number} for number in range(images)],
        "annotations": annotations,
        "categories": [{"id": label} for label in range(classes)],
    }
    coco.createIndex()
    return coco
