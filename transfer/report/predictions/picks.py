"""How well each test image came out, to look at the worst and the best."""

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
    """A figure for each test image, 0 to 1; NaN for one that has none.

    Args:
        path: The file of outcomes beside a record.
        task: ``"detection"`` or ``"segmentation"``.
        names: Of the test images, in their order.
        least_score: Detections of a lower score do not count.

    Raises:
        UserError: The file is not there, is of another kind or of other images.
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
    """Where each of the test images stands in a file of outcomes.

    Older records call images of several folders by their bare names, so that some have one name:
    of those only the order tells them apart.
    """
    by_name = {name: place for place, name in enumerate(kept)}
    if len(by_name) == len(kept) == len(names) and by_name.keys() == set(names):
        return [by_name[name] for name in names]
    if [PurePath(name).name for name in names] == list(kept):
        return list(range(len(names)))
    raise UserError(
        f"'{path.absolute()}' is of other test images than the data set has now. Use --pick first."
    )


def f1_of_boxes(outcomes: DetectionOutcomes, least_score: float = SHOWN_SCORE) -> FloatArray:
    """2 right / (2 right + wrong + missed), per image; NaN where nothing is and nothing is found.

    Args:
        outcomes: Of a detector.
        least_score: Detections of a lower score do not count.
    """
    counted = (outcomes.score >= least_score) & ~outcomes.ignored
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
