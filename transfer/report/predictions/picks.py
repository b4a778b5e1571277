"""Per-image scores, used to pick the worst and the best images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from backbones.common.errors import UserError
from transfer.records.outcomes import DetectionOutcomes, SegmentationOutcomes, read
from transfer.report.predictions.side_by_side import SHOWN_SCORE

FloatArray = npt.NDArray[np.floating[Any]]


def image_figures(
    path: Path, task: str, names: Sequence[str], least_score: float = SHOWN_SCORE
) -> FloatArray:
    """A score for each test image, 0 to 1, or NaN.

    Args:
        path: The per-image results beside a record.
        task: ``"detection"`` or ``"segmentation"``.
        names: Names of the test images, in order.
        least_score: Detections with a lower score do not count.

    Raises:
        UserError: The file is missing, of another kind or about other images.
    """
    try:
        outcomes = read(path, task)
    except UserError as error:
        raise UserError(f"{error} Use --pick first.") from error
    if isinstance(outcomes, DetectionOutcomes):
        figures = f1_of_boxes(outcomes, least_score)
    else:
        figures = iou_of_masks(outcomes)
    return figures[_places(outcomes.images.tolist(), names, path)]


def _places(kept: Sequence[str], names: Sequence[str], path: Path) -> list[int]:
    """The index of each test image in the per-image results.

    Older records use the bare names of images from several folders, so names may repeat. Only the
    order distinguishes those.
    """
    by_name = {name: place for place, name in enumerate(kept)}
    if len(by_name) == len(kept) == len(names) and by_name.keys() == set(names):
        return [by_name[name] for name in names]
    if [PurePath(name).name for name in names] == list(kept):
        return list(range(len(names)))
    raise UserError(
        f"'{path.absolute()}' has other test images than the data set now. Use --pick first."
    )


def f1_of_boxes(outcomes: DetectionOutcomes, least_score: float = SHOWN_SCORE) -> FloatArray:
    """2 right / (2 right + wrong + missed), per image; NaN without objects and detections.

    Args:
        outcomes: Outcomes of a detector.
        least_score: Detections with a lower score do not count.
    """
    counted = (outcomes.score >= least_score) & ~outcomes.ignored
    images = len(outcomes.images)
    right = np.bincount(outcomes.image[counted & outcomes.correct], minlength=images)
    found = np.bincount(outcomes.image[counted], minlength=images)
    return _ratio(2 * right, found + outcomes.positives.sum(axis=1))


def iou_of_masks(outcomes: SegmentationOutcomes) -> FloatArray:
    """Mean IoU over the classes that an image's labels contain; NaN without labels."""
    union = outcomes.predicted + outcomes.labelled - outcomes.intersection
    iou = _ratio(outcomes.intersection, union)
    there = outcomes.labelled > 0
    return _ratio(np.where(there, iou, 0).sum(axis=1), there.sum(axis=1))


def _ratio(above: npt.NDArray[Any], below: npt.NDArray[Any]) -> FloatArray:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
