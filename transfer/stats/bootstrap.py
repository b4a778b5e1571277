"""Noise of the test set: a paired bootstrap over images, from per-image results.

Test images are drawn with replacement, the same draw for both rows, and the metric of each row is
computed on every draw from stored per-image results; no network runs. The interval shows how much
the difference depends on these test images, for these trained detectors. It does not cover seeds,
so it is reported beside the interval over seeds and never mixed with it.

A drawn image counts as often as it was drawn, so a draw is one multiplicity for each image. For
AP the detections are sorted once, and each draw is a cumulative sum of multiplicities in that
order, evaluated after each true positive. That is exactly the AP of a test set with copied images:
precision rises within the copies of a true positive and falls within those of a false one, and AP
takes the best precision from each recall on.
"""

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
    "paired_bootstrap",
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

    The interval is the basic one: twice the difference minus the percentiles of the draws. A draw
    repeats some images and lacks others, which shifts AP at 11 recalls, differently for two rows.
    Where the draws lie to one side of the difference, the difference itself lies to the same side
    of the value for more images.

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
def paired_bootstrap(
    baseline: Sequence[Sequence[DetectionOutcomes]],
    row: Sequence[Sequence[DetectionOutcomes]],
    metric: DetectionMetric,
    *,
    resamples: int = ...,
) -> ImageNoise: ...


@overload
def paired_bootstrap(
    baseline: Sequence[Sequence[SegmentationOutcomes]],
    row: Sequence[Sequence[SegmentationOutcomes]],
    metric: SegmentationMetric,
    *,
    resamples: int = ...,
) -> ImageNoise: ...


def paired_bootstrap(
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
            f"a bootstrap of {most:,} images or detections would take too long; at most {_MOST:,} "
            "are drawn from"
        )
    images = len(runs[0].images)

    def mean(units: Sequence[Sequence[_Outcomes]]) -> FloatArray:
        drawn = [[_resampled(run, metric, resamples) for run in unit] for unit in units]
        return np.mean([np.mean(unit, axis=0) for unit in drawn], axis=0)

    differences = mean(row) - mean(baseline)
    differences = differences[np.isfinite(differences)]
    bounds = np.percentile(differences, (97.5, 2.5)) if len(differences) else (np.nan, np.nan)
    base_figure, row_figure = (
        float(np.mean([np.mean([metric_value(run, metric) for run in unit]) for unit in units]))
        for units in (baseline, row)
    )
    difference = row_figure - base_figure
    low, high = (2 * difference - bound for bound in bounds)
    return ImageNoise(
        metric=metric,
        images=images,
        resamples=len(differences),
        baseline=base_figure,
        row=row_figure,
        difference=difference,
        low=float(low),
        high=float(high),
    )


@lru_cache(maxsize=32)  # the baseline's runs are needed for every row
def _resampled(
    run: DetectionOutcomes | SegmentationOutcomes,
    metric: DetectionMetric | SegmentationMetric,
    resamples: int,
) -> FloatArray:
    """The metric of one fine-tuning on each draw, (resamples,), in points."""
    at_once = max(1, min(_CHUNK, _NUMBERS_AT_ONCE // _size(run)))
    draws = _draws(len(run.images), resamples, at_once)
    return np.concatenate([_figure(run, metric, weights) for weights in draws])


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
    return float(_figure(outcomes, metric, whole)[0])


def _figure(
    outcomes: DetectionOutcomes | SegmentationOutcomes,
    metric: DetectionMetric | SegmentationMetric,
    weights: npt.NDArray[np.int32],
) -> FloatArray:
    """The metric in points, (draws,), for multiplicities of the images, (images, draws)."""
    if isinstance(outcomes, DetectionOutcomes):
        return 100 * _mean_over_classes(_average_precisions(outcomes, metric, weights))
    return 100 * _pixels(outcomes, metric, weights)


def _draws(images: int, resamples: int, at_once: int = _CHUNK) -> Iterator[npt.NDArray[np.int32]]:
    """Multiplicities of the images, (images, up to ``at_once`` draws) at a time."""
    rng = np.random.default_rng(0)
    for start in range(0, resamples, at_once):
        chosen = rng.integers(images, size=(min(at_once, resamples - start), images))
        counts = [np.bincount(draw, minlength=images) for draw in chosen]
        yield np.array(counts, dtype=np.int32).T.copy()


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
                "a paired bootstrap needs the same test images in the same order, but two of the "
                "results have different ones; compare results of one data set"
            )
        if not np.array_equal(labels, truth[0]):
            raise UserError(
                "two results on the same test images used different labels; "
                "evaluate both with the same annotations"
            )
