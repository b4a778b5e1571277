"""Noise of the test set: paired resampling of the images, from per-image results.

Half of the test images are drawn, the same half for both rows, and the metric of each row is
computed on every draw from stored per-image results; no network runs. The interval shows how much
the difference depends on these test images, for these trained detectors. It does not cover seeds.

Half of n images, drawn without replacement, has the variance that n images have as a sample (the
jackknife that leaves out half; Shao and Wu 1989, Annals of Statistics 17). The bootstrap draws
with replacement, and a draw then repeats some images, which distorts AP at 11 recalls.

A draw is a number of copies of each image. For AP the detections are sorted once, and each draw is
a cumulative sum of copies in that order, evaluated after each true positive. That is exactly the AP
of a test set with these copies: precision rises within the copies of a true positive and falls
within those of a false one, and AP takes the best precision from each recall on.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeVar, overload

import numpy as np
import numpy.typing as npt

from backbones.common.errors import UserError
from transfer.records.outcomes import DetectionOutcomes, SegmentationOutcomes

__all__ = [
    "DetectionOutcomes",
    "ImageNoise",
    "SegmentationOutcomes",
    "metric_value",
    "paired_halves",
]

FloatArray = npt.NDArray[np.floating[Any]]
DetectionMetric = Literal["mAP 11-point", "mAP area"]
SegmentationMetric = Literal["mIoU", "pixAcc"]

RESAMPLES = 1000
_CHUNK = 100  # draws at a time, so that (detections of a class, draws) fits the cache
_NUMBERS_AT_ONCE = 20_000_000  # of draws, for very large test sets
_MOST = 4_000_000  # images or detections; a thousand draws take minutes
_RECALLS = np.arange(0.0, 1.0 + 1e-3, 0.1)
"""VOC07's thresholds as MMDetection and GluonCV write them, including .30000000000000004, so that
figures equal theirs when a recall meets a threshold exactly."""

_Outcomes = TypeVar("_Outcomes", DetectionOutcomes, SegmentationOutcomes)


@dataclass(frozen=True, kw_only=True)
class ImageNoise:
    """A difference on the whole test set with its 95 % interval over images.

    The interval reaches 1.96 times the root mean square of the draws' distances from the
    difference. Fewer images shift AP at 11 recalls, differently for two rows, and the distances
    include that shift.

    ``baseline``, ``row``, ``difference``, ``low`` and ``high`` are in points; a row's figure is
    the mean over its units, of each the mean over its fine-tunings. ``resamples`` counts the draws
    on which the metric exists.
    """

    metric: DetectionMetric | SegmentationMetric
    images: int
    resamples: int
    baseline: float
    row: float
    difference: float
    low: float
    high: float


@overload
def paired_halves(
    baseline: Sequence[Sequence[DetectionOutcomes]],
    row: Sequence[Sequence[DetectionOutcomes]],
    metric: DetectionMetric,
    *,
    resamples: int = ...,
) -> ImageNoise: ...


@overload
def paired_halves(
    baseline: Sequence[Sequence[SegmentationOutcomes]],
    row: Sequence[Sequence[SegmentationOutcomes]],
    metric: SegmentationMetric,
    *,
    resamples: int = ...,
) -> ImageNoise: ...


def paired_halves(
    baseline: Sequence[Sequence[_Outcomes]],
    row: Sequence[Sequence[_Outcomes]],
    metric: DetectionMetric | SegmentationMetric,
    *,
    resamples: int = RESAMPLES,
) -> ImageNoise:
    """Interval of the difference between two rows over draws of the test images.

    The random draws are fixed.

    Args:
        baseline: outcomes of the baseline's fine-tunings, one or more, grouped by the unit that
            they
            are averaged in.
        row: those of the row; their number may differ.
        metric: the metric; AP as in VOC07 (11 recalls) or as the area under the curve.
        resamples: draws of the test set, at least 100 for a meaningful 95 % interval.

    Raises:
        UserError: the outcomes have different test images or labels, or too many for this.
    """
    runs = [run for unit in (*baseline, *row) for run in unit]
    _check_same_test_set(runs)
    if (most := max(map(_size, runs))) > _MOST:
        raise UserError(
            f"halves of {most:,} images or detections would take too long to draw; at most "
            f"{_MOST:,} are drawn from"
        )
    images = len(runs[0].images)

    def mean(units: Sequence[Sequence[_Outcomes]]) -> FloatArray:
        drawn = [[_resampled(run, metric, resamples) for run in unit] for unit in units]
        return np.mean([np.mean(unit, axis=0) for unit in drawn], axis=0)

    base_figure, row_figure = (
        float(np.mean([np.mean([metric_value(run, metric) for run in unit]) for unit in units]))
        for units in (baseline, row)
    )
    difference = row_figure - base_figure
    differences = mean(row) - mean(baseline)
    differences = differences[np.isfinite(differences)]
    reach = reach_of_draws(differences - difference, images)
    return ImageNoise(
        metric=metric,
        images=images,
        resamples=len(differences),
        baseline=base_figure,
        row=row_figure,
        difference=difference,
        low=difference - reach,
        high=difference + reach,
    )


def reach_of_draws(distances: FloatArray, images: int) -> float:
    """Half-width of the 95 % interval over test images; NaN without a draw.

    Args:
        distances: (draws,) differences on halves of the images minus that on all, in points.
        images: number of all images.
    """
    if not len(distances):
        return math.nan
    scale = math.sqrt(images // 2 / (images - images // 2))  # 1, but for odd numbers
    return 1.96 * scale * math.sqrt(float((distances**2).mean()))


@lru_cache(maxsize=32)  # the baseline's runs are needed for every row
def _resampled(
    run: DetectionOutcomes | SegmentationOutcomes,
    metric: DetectionMetric | SegmentationMetric,
    resamples: int,
) -> FloatArray:
    """The metric of one fine-tuning on each draw, (resamples,), in points."""
    at_once = max(1, min(_CHUNK, _NUMBERS_AT_ONCE // _size(run)))
    draws = _draws(len(run.images), resamples, at_once)
    return np.concatenate([metric_on_draws(run, metric, weights) for weights in draws])


def _size(run: DetectionOutcomes | SegmentationOutcomes) -> int:
    """Images or detections, whichever are more."""
    detections = len(run.image) if isinstance(run, DetectionOutcomes) else 0
    return max(len(run.images), detections)


def metric_value(
    outcomes: DetectionOutcomes | SegmentationOutcomes,
    metric: DetectionMetric | SegmentationMetric,
) -> float:
    """The metric on the whole test set, in points; NaN if no class has an object or pixel."""
    whole = np.ones((len(outcomes.images), 1), dtype=np.int32)
    return float(metric_on_draws(outcomes, metric, whole)[0])


def metric_on_draws(
    outcomes: DetectionOutcomes | SegmentationOutcomes,
    metric: DetectionMetric | SegmentationMetric,
    weights: npt.NDArray[np.int32],
) -> FloatArray:
    """The metric in points, (draws,), for copies of the images, (images, draws)."""
    if isinstance(outcomes, DetectionOutcomes):
        return 100 * _mean_over_classes(_average_precisions(outcomes, metric, weights))
    return 100 * _pixels(outcomes, metric, weights)


def _draws(images: int, resamples: int, at_once: int = _CHUNK) -> Iterator[npt.NDArray[np.int32]]:
    """Copies of the images, 1 for a half, (images, up to ``at_once`` draws) at a time."""
    rng = np.random.default_rng(0)
    half = np.arange(images) < images // 2
    for start in range(0, resamples, at_once):
        several = np.tile(half, (min(at_once, resamples - start), 1))
        yield rng.permuted(several, axis=1).T.astype(np.int32)


def _average_precisions(
    outcomes: DetectionOutcomes, metric: str, weights: npt.NDArray[np.int32]
) -> FloatArray:
    """AP of each class on each draw, (classes, draws); NaN if a draw has no such object."""
    positives = outcomes.positives.T.astype(float) @ weights
    result = np.full(positives.shape, np.nan)
    counted = np.flatnonzero(~outcomes.ignored)
    order = counted[np.argsort(-outcomes.score[counted], kind="stable")]
    for label in range(len(positives)):
        ranked = order[outcomes.label[order] == label]
        hits = np.flatnonzero(outcomes.correct[ranked])
        seen = weights[outcomes.image[ranked]]
        true = np.cumsum(seen[hits], axis=0)
        precision = true / np.maximum(np.cumsum(seen, axis=0)[hits], 1)
        recall = true / np.maximum(positives[label], 1)
        measure = _eleven_points if metric == "mAP 11-point" else _area
        result[label] = np.where(positives[label] > 0, measure(precision, recall), np.nan)
    return result


def _eleven_points(precision: FloatArray, recall: FloatArray) -> FloatArray:
    """Mean over eleven recalls of the best precision from there on, (draws,)."""
    best = [np.max(precision, axis=0, initial=0, where=recall >= r) for r in _RECALLS]
    return np.mean(best, axis=0)


def _area(precision: FloatArray, recall: FloatArray) -> FloatArray:
    """Area under the best precision from each recall on, (draws,)."""
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    area: FloatArray = (best * np.diff(recall, axis=0, prepend=0)).sum(axis=0)
    return area


def _pixels(
    outcomes: SegmentationOutcomes, metric: str, weights: npt.NDArray[np.int32]
) -> FloatArray:
    """MIoU or pixel accuracy on each draw, (draws,), as a fraction."""
    # Sums of pixels stay below 2^53, so floating point is exact and much faster than integers.
    intersection, predicted, labelled = (
        area.T.astype(float) @ weights
        for area in (outcomes.intersection, outcomes.predicted, outcomes.labelled)
    )
    if metric == "pixAcc":
        total = labelled.sum(axis=0)
        return np.where(total > 0, intersection.sum(axis=0) / np.maximum(total, 1), np.nan)
    union = predicted + labelled - intersection
    iou = intersection / np.maximum(union, 1)
    return _mean_over_classes(np.where(labelled > 0, iou, np.nan))


def _mean_over_classes(values: FloatArray) -> FloatArray:
    """Mean of (classes, draws) over the classes that a draw has; NaN if it has none."""
    there = np.isfinite(values)
    count = there.sum(axis=0)
    total = np.where(there, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _check_same_test_set(runs: Sequence[DetectionOutcomes | SegmentationOutcomes]) -> None:
    """Check that the outcomes have the same images in the same order, with the same labels."""
    truth = [run.positives if isinstance(run, DetectionOutcomes) else run.labelled for run in runs]
    for run, labels in zip(runs[1:], truth[1:], strict=True):
        if not np.array_equal(run.images, runs[0].images):
            raise UserError(
                "the noise of the test images needs the same images in the same order, but two of "
                "the results have different ones; compare results of one data set"
            )
        if not np.array_equal(labels, truth[0]):
            raise UserError(
                "two results on the same test images used different labels; "
                "evaluate both with the same annotations"
            )
