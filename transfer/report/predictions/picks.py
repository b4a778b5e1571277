"""How well each test image came out, to look at the worst and the best."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backbones.common.errors import UserError
from transfer.records.outcomes import DetectionOutcomes, SegmentationOutcomes, read
from transfer.report.predictions.side_by_side import SHOWN_SCORE

FloatArray = npt.NDArray[np.floating[Any]]


def image_figures(path: Path, task: str) -> dict[str, float]:
    """A figure for each image that has one, 0 to 1, by the image's name.

    Args:
        path: The file of outcomes beside a record.
        task: ``"detection"`` or ``"segmentation"``.

    Raises:
        UserError: The file is not there or is of another kind.
    """
    try:
        outcomes = read(path, task)
    except UserError as error:
        raise UserError(f"{error} Use --pick first.") from error
    if isinstance(outcomes, DetectionOutcomes):
        names, figures = outcomes.images, f1_of_boxes(outcomes)
    else:
        names, figures = outcomes.images, iou_of_masks(outcomes)
    there = np.isfinite(figures)
    return dict(zip(names[there].tolist(), figures[there].tolist(), strict=True))


def f1_of_boxes(outcomes: DetectionOutcomes) -> FloatArray:
    """2 right / (2 right + wrong + missed), per image; NaN where nothing is and nothing is found.

    Detections of a score below what pictures show do not count.
    """
    counted = (outcomes.score >= SHOWN_SCORE) & ~outcomes.ignored
    images = len(outcomes.images)
    right = np.bincount(outcomes.image[counted & outcomes.correct], minlength=images)
    found = np.bincount(outcomes.image[counted], minlength=images)
    return _ratio(2 * right, found + outcomes.positives.sum(axis=1))


def iou_of_masks(outcomes: SegmentationOutcomes) -> FloatArray:
    """Mean IoU over the classes that are labelled in an image; NaN where none is."""
    union = outcomes.predicted + outcomes.labelled - outcomes.intersection
    iou = _ratio(outcomes.intersection, union)
    there = outcomes.labelled > 0
    return _ratio(np.where(there, iou, 0).sum(axis=1), there.sum(axis=1))


def _ratio(above: npt.NDArray[Any], below: npt.NDArray[Any]) -> FloatArray:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
