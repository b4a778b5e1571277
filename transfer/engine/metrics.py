"""The metrics of both tasks, with what each image contributed to them.

VOC average precision is computed with MMDetection's matching and interpolation, mIoU with
MMSegmentation's histograms; COCO's with pycocotools. Each is tested against an independent one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

IOU_THRESHOLD = 0.5


@METRICS.register_module()
class BoxAP(BaseMetric):
    """VOC average precision at IoU 0.5, both forms, per class.

    Reports, in percent: ``mAP`` (the form that ``form`` names, over the headline classes),
    ``mAP_11point`` and ``mAP_area`` over all classes that have a box in the test set, and
    ``AP/<class>``.

    Args:
        form: ``"11points"`` (VOC2007) or ``"area"`` (VOC2010 and later).
        headline_classes: Classes whose mean is ``mAP``; empty for all.
        outcomes: File for what each image contributed, or None.
    """

    default_prefix = None

    def __init__(
        self,
        form: str = "11points",
        headline_classes: Sequence[str] = (),
        outcomes: str | None = None,
    ) -> None:
        super().__init__()
        self.form = form
        self.headline_classes = tuple(headline_classes)
        self.outcomes = outcomes

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Match the detections of each image with its boxes."""
        from mmdet.evaluation.functional.mean_ap import tpfp_default

        for sample in data_samples:
            found = {k: _array(v) for k, v in sample["pred_instances"].items()}
            truth = {k: _array(v) for k, v in sample["gt_instances"].items()}
            ignored = {k: _array(v) for k, v in sample["ignored_instances"].items()}
            rows, positives = [], np.zeros(len(self.dataset_meta["classes"]), np.int32)
            for label in np.unique(
                np.concatenate([found["labels"], truth["labels"], ignored["labels"]])
            ).astype(int):
                mine = found["labels"] == label
                boxes = truth["bboxes"][truth["labels"] == label]
                difficult = ignored["bboxes"][ignored["labels"] == label]
                positives[label] = len(boxes)
                detections = np.hstack([found["bboxes"][mine], found["scores"][mine, None]])
                # The devkit's boxes are inclusive: a width is x2 - x1 + 1.
                hit, miss = tpfp_default(
                    detections, boxes, difficult, IOU_THRESHOLD, use_legacy_coordinate=True
                )
                for score, is_hit, is_miss in zip(detections[:, -1], hit[0], miss[0], strict=True):
                    rows.append((label, score, 1 if is_hit else 0 if is_miss else -1))
            self.results.append((sample["img_id"], rows, positives))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Average precision from every image's detections, best score first."""
        from mmdet.evaluation.functional.mean_ap import average_precision

        classes = self.dataset_meta["classes"]
        image, label, score, outcome = _columns(results)
        positives = np.stack([row[2] for row in results])
        if self.outcomes:
            _save(
                self.outcomes,
                image_ids=np.array([str(row[0]) for row in results]),
                image=image,
                label=label,
                score=score,
                outcome=outcome,
                positives=positives,
            )
        ap: dict[str, dict[str, float]] = {"11points": {}, "area": {}}
        for index, name in enumerate(classes):
            total = int(positives[:, index].sum())
            if not total:
                continue
            mine = np.flatnonzero((label == index) & (outcome >= 0))
            order = mine[np.argsort(-score[mine], kind="stable")]
            hits = np.cumsum(outcome[order] == 1)
            recall = hits / total
            precision = hits / np.arange(1, len(order) + 1)
            for form, values in ap.items():
                values[name] = 100 * float(average_precision(recall, precision, form))
        headline = [ap[self.form][name] for name in self.headline_classes or ap[self.form]]
        return {
            "mAP": _mean(headline),
            "mAP_11points": _mean(list(ap["11points"].values())),
            "mAP_area": _mean(list(ap["area"].values())),
            **{f"AP/{name}": value for name, value in ap[self.form].items()},
        }


@METRICS.register_module()
class MaskIoU(BaseMetric):
    """pixAcc, mIoU and the IoU of each class, from pixels summed over the whole test set.

    Ignored pixels are dropped from the prediction too. Reports, in percent: ``mIoU`` (over the
    headline classes), ``mIoU_all`` and ``pixAcc`` over all classes, and ``IoU/<class>``.

    Args:
        headline_classes: Classes whose mean is ``mIoU``; empty for all.
        ignore_index: Label of pixels that are not judged.
        outcomes: File for what each image contributed, or None.
    """

    default_prefix = None

    def __init__(
        self,
        headline_classes: Sequence[str] = (),
        ignore_index: int = 255,
        outcomes: str | None = None,
    ) -> None:
        super().__init__()
        self.headline_classes = tuple(headline_classes)
        self.ignore_index = ignore_index
        self.outcomes = outcomes

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count each image's pixels: intersection, prediction and label, per class."""
        from mmseg.evaluation import IoUMetric

        classes = len(self.dataset_meta["classes"])
        for sample in data_samples:
            predicted = sample["pred_sem_seg"]["data"].squeeze()
            label = sample["gt_sem_seg"]["data"].squeeze().to(predicted)
            intersection, _, area, truth = IoUMetric.intersect_and_union(
                predicted, label, classes, self.ignore_index
            )
            counts = np.stack([_array(part) for part in (intersection, area, truth)])
            self.results.append((sample["img_path"], counts.astype(np.int64)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Intersection over union, averaged over the classes that occur."""
        classes = self.dataset_meta["classes"]
        counts = np.stack([row[1] for row in results])
        if self.outcomes:
            _save(
                self.outcomes,
                image_ids=np.array([Path(row[0]).stem for row in results]),
                intersection=counts[:, 0],
                predicted=counts[:, 1],
                labelled=counts[:, 2],
            )
        intersection, predicted, labelled = counts.sum(axis=0)
        union = predicted + labelled - intersection
        iou = {
            name: 100 * float(intersection[i] / union[i])
            for i, name in enumerate(classes)
            if union[i]
        }
        return {
            "mIoU": _mean([iou[name] for name in self.headline_classes or iou if name in iou]),
            "mIoU_all": _mean(list(iou.values())),
            "pixAcc": 100 * float(intersection.sum() / max(labelled.sum(), 1)),
            **{f"IoU/{name}": value for name, value in iou.items()},
        }


def _columns(results: list) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Image number, label, score and outcome of every detection, in the order of the images."""
    image = [number for number, row in enumerate(results) for _ in row[1]]
    flat = [detection for row in results for detection in row[1]]
    label, score, outcome = zip(*flat, strict=True) if flat else ((), (), ())
    return (
        np.array(image, np.int32),
        np.array(label, np.int16),
        np.array(score, np.float32),
        np.array(outcome, np.int8),
    )


def _array(value: Any) -> np.ndarray:
    value = getattr(value, "tensor", value)  # mmdet's boxes wrap a tensor
    return value.float().cpu().numpy() if value.is_floating_point() else value.cpu().numpy()


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _save(path: str, **arrays: Any) -> None:
    with Path(path).open("wb") as file:
        np.savez_compressed(file, **arrays)
