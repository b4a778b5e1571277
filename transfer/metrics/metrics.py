"""The metrics of both tasks, with per-image results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import METRICS

from backbones.runtime.evaluation import SharedMetric
from transfer.metrics.coco_ap import JudgedImage, coco_average_precision
from transfer.metrics.voc_ap import NEITHER, RIGHT, average_precision, judge
from transfer.records.outcomes import DetectionOutcomes, SegmentationOutcomes, image_names


@METRICS.register_module()
class BoxAP(SharedMetric):
    """Average precision of boxes: VOC's two forms at IoU 0.5 and COCO's three, per class.

    Reports, in percent: ``mAP``, the headline, in the protocol's form; ``mAP_11points``,
    ``mAP_area``, ``mAP_coco``, ``mAP_coco50`` and ``mAP_coco75``, all over the headline classes;
    ``mAP_all``, in the protocol's form over all classes; and ``AP_<form>/<class>``. A class
    without a counted box in the test set has no figure and is in no mean.

    Args:
        form: The protocol's: ``"11points"`` (VOC2007), ``"area"`` (VOC2010 and later) or
            ``"coco"``.
        headline_classes: Classes whose mean is ``mAP``; empty for all.
        outcomes: File for the per-image results, or None.
        shared: See :class:`backbones.runtime.evaluation.SharedMetric`.
    """

    default_prefix = None

    def __init__(
        self,
        form: str = "11points",
        headline_classes: Sequence[str] = (),
        outcomes: str | None = None,
        shared: bool = False,
    ) -> None:
        super().__init__(shared)
        self.form = form
        self.headline_classes = tuple(headline_classes)
        self.outcomes = outcomes

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Store the detections and boxes of each image."""
        for sample in data_samples:
            found, truth, ignored = (
                {name: _array(value) for name, value in sample[part].items()}
                for part in ("pred_instances", "gt_instances", "ignored_instances")
            )
            name, path = str(sample["img_id"]), sample.get("img_path", "")
            self.results.append(
                JudgedImage(name=name, found=found, truth=truth, ignored=ignored, path=path)
            )

    def compute_metrics(self, results: list[JudgedImage]) -> dict[str, float]:
        """Compute all forms from all images."""
        classes = self.dataset_meta["classes"]
        outcomes = judge_all(results, len(classes))
        _save(self.outcomes, outcomes)
        ap = voc_average_precision(outcomes, classes) | coco_average_precision(results, classes)
        headline = {form: _over(values, self.headline_classes) for form, values in ap.items()}
        return {
            "mAP": headline[self.form],
            **{f"mAP_{form}": value for form, value in headline.items()},
            "mAP_all": _over(ap[self.form]),
            **{
                f"AP_{form}/{name}": 100 * value
                for form, values in ap.items()
                for name, value in values.items()
            },
        }


def judge_all(images: Sequence[JudgedImage], classes: int) -> DetectionOutcomes:
    """The outcome of every detection at IoU 0.5, by the devkit's rules."""
    positives = np.zeros((len(images), classes), np.int32)
    image, label, score, outcome = [], [], [], []
    for number, judged in enumerate(images):
        found, truth, ignored = judged.found, judged.truth, judged.ignored
        np.add.at(positives[number], truth["labels"].astype(int), 1)
        for index in np.unique(found["labels"]).astype(int):
            mine = np.flatnonzero(found["labels"] == index)
            scores = found["scores"][mine]
            outcome.append(
                judge(
                    found["bboxes"][mine],
                    scores,
                    truth["bboxes"][truth["labels"] == index],
                    ignored["bboxes"][ignored["labels"] == index],
                )
            )
            image.append(np.full(len(mine), number))
            label.append(np.full(len(mine), index))
            score.append(scores)
    judgement = _joined(outcome, np.int8)
    return DetectionOutcomes(
        images=np.array(image_names([one.path for one in images], [one.name for one in images])),
        positives=positives,
        image=_joined(image, np.int32),
        label=_joined(label, np.int32),
        score=_joined(score, np.float32),
        correct=judgement == RIGHT,
        ignored=judgement == NEITHER,
    )


def voc_average_precision(
    outcomes: DetectionOutcomes, classes: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Both of VOC's forms, 0 to 1, for classes with objects."""
    ap: dict[str, dict[str, float]] = {"11points": {}, "area": {}}
    totals = outcomes.positives.sum(axis=0)
    for index, name in enumerate(classes):
        if not totals[index]:
            continue
        mine = np.flatnonzero((outcomes.label == index) & ~outcomes.ignored)
        order = mine[np.argsort(-outcomes.score[mine], kind="stable")]
        for form, values in ap.items():
            values[name] = average_precision(outcomes.correct[order], int(totals[index]), form)
    return ap


@METRICS.register_module()
class MaskIoU(SharedMetric):
    """pixAcc, mIoU and the IoU of each class, from pixels summed over the whole test set.

    Ignored pixels are dropped from the prediction too. Reports, in percent: ``mIoU`` (over the
    headline classes), ``mIoU_all`` and ``pixAcc`` over all classes, and ``IoU/<class>``. A class
    without a labelled pixel in the test set has no figure and is in no mean, whatever is
    predicted, so the means of all rows are over the same classes. (MMSegmentation's ``IoUMetric``
    counts such a class as 0 as soon as one pixel is predicted as it.)

    Args:
        headline_classes: Classes whose mean is ``mIoU``; empty for all.
        ignore_index: Label of ignored pixels.
        outcomes: File for the per-image results, or None.
        shared: See :class:`backbones.runtime.evaluation.SharedMetric`.
    """

    default_prefix = None

    def __init__(
        self,
        headline_classes: Sequence[str] = (),
        ignore_index: int = 255,
        outcomes: str | None = None,
        shared: bool = False,
    ) -> None:
        super().__init__(shared)
        self.headline_classes = tuple(headline_classes)
        self.ignore_index = ignore_index
        self.outcomes = outcomes

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count each image's pixels: intersection, prediction and label, per class."""
        classes = len(self.dataset_meta["classes"])
        for sample in data_samples:
            predicted = sample["pred_sem_seg"]["data"].squeeze().long()
            label = sample["gt_sem_seg"]["data"].squeeze().to(predicted)
            judged = label != self.ignore_index
            predicted, label = predicted[judged], label[judged]
            # Integers: MMSegmentation counts in float32, which is exact only up to 16,777,216.
            parts = (label[predicted == label], predicted, label)
            counts = [_array(torch.bincount(part, minlength=classes)) for part in parts]
            self.results.append((sample["img_path"], np.stack(counts)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute IoU, averaged over the labelled classes."""
        classes = self.dataset_meta["classes"]
        counts = np.stack([row[1] for row in results])
        files = [row[0] for row in results]
        names = np.array(image_names(files, [Path(file).stem for file in files]))
        _save(self.outcomes, SegmentationOutcomes(names, *counts.transpose(1, 0, 2)))
        intersection, predicted, labelled = counts.sum(axis=0)
        union = predicted + labelled - intersection
        iou = {
            name: float(intersection[index] / union[index])
            for index, name in enumerate(classes)
            if labelled[index]
        }
        return {
            "mIoU": _over(iou, self.headline_classes),
            "mIoU_all": _over(iou),
            "pixAcc": 100 * float(intersection.sum() / max(labelled.sum(), 1)),
            **{f"IoU/{name}": 100 * value for name, value in iou.items()},
        }


def _joined(parts: list[np.ndarray], kind: type) -> np.ndarray:
    return np.concatenate(parts).astype(kind) if parts else np.zeros(0, kind)


def _array(value: Any) -> np.ndarray:
    value = getattr(value, "tensor", value)  # mmdet's boxes wrap a tensor
    return value.float().cpu().numpy() if value.is_floating_point() else value.cpu().numpy()


def _over(values: Mapping[str, float], classes: Sequence[str] = ()) -> float:
    """Mean in percent over classes, or over all; NaN if none has a figure."""
    kept = [values[name] for name in classes or values if name in values]
    return 100 * float(np.mean(kept)) if kept else float("nan")


def _save(path: str | None, outcomes: DetectionOutcomes | SegmentationOutcomes) -> None:
    if path:
        with Path(path).open("wb") as file:
            arrays: dict[str, Any] = outcomes.to_arrays()
            np.savez_compressed(file, **arrays)
