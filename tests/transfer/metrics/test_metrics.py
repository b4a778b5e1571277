"""Metrics against independent ones, and on real annotations."""

from __future__ import annotations

import contextlib
import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs
from mmdet.evaluation.functional import average_precision as mmdet_average_precision
from mmdet.evaluation.functional import eval_map
from mmdet.evaluation.metrics import CocoMetric
from mmengine.structures import InstanceData, PixelData
from PIL import Image
from sklearn.metrics import accuracy_score, jaccard_score

import transfer.openmmlab  # noqa: F401
from backbones.common.toml_file import read_toml
from transfer.datasets.toolbox_datasets import IndexMasks, VocBoxes
from transfer.metrics.coco_ap import JudgedImage, coco_average_precision
from transfer.metrics.metrics import BoxAP, MaskIoU, judge_all, voc_average_precision
from transfer.metrics.voc_ap import RIGHT, WRONG, average_precision, judge
from transfer.records.outcomes import DetectionOutcomes, SegmentationOutcomes
from transfer.stats.image_halves import metric_value

CLASSES = ("cat", "dog", "ghost", "person")  # nothing is ever a ghost; it is detected all the same
seeds = st.integers(0, 2**32 - 1)


def draw_images(seed, distinct_scores=False):
    """Boxes on a coarse grid, so that overlaps of a half and a bit, and exact ties, are common."""
    rng = np.random.default_rng(seed)
    images = []
    for number in range(rng.integers(1, 7)):
        truth, ignored, found = (draw_boxes(rng, most) for most in (4, 2, 9))
        for part in (truth, ignored):
            part["labels"][part["labels"] == 2] = 3
        count = len(found["labels"])
        scores = rng.random(count) if distinct_scores else rng.integers(1, 5, count) / 5
        found["scores"] = scores.astype(np.float32)
        images.append(JudgedImage(name=f"image{number}", found=found, truth=truth, ignored=ignored))
    return images


def draw_boxes(rng, most):
    count = rng.integers(0, most + 1)  # images without any are common
    corner = rng.integers(0, 3, (count, 2)) * 4
    size = rng.integers(1, 4, (count, 2)) * 4 - 1
    return {
        "bboxes": np.hstack([corner, corner + size]).astype(np.float32),
        "labels": rng.integers(0, len(CLASSES), count),
    }


def brute_force(images, label):
    """Both forms for one class, straight from the devkit's text, one detection at a time.

    None where no object counts.
    """
    objects, queue = {}, []
    for number, image in enumerate(images):
        objects[number] = [
            {"box": box, "difficult": difficult, "met": False}
            for part, difficult in ((image.truth, False), (image.ignored, True))
            for box, name in zip(part["bboxes"].tolist(), part["labels"], strict=True)
            if name == label
        ]
        queue += [
            (float(score), number, box)
            for box, name, score in zip(
                image.found["bboxes"].tolist(),
                image.found["labels"],
                image.found["scores"],
                strict=True,
            )
            if name == label
        ]
    total = sum(not thing["difficult"] for things in objects.values() for thing in things)
    if not total:
        return None
    curve, right, wrong = [], 0, 0
    for _, number, box in sorted(queue, key=lambda entry: -entry[0]):
        overlap, nearest = 0.0, None
        for thing in objects[number]:
            width = min(box[2], thing["box"][2]) - max(box[0], thing["box"][0]) + 1
            height = min(box[3], thing["box"][3]) - max(box[1], thing["box"][1]) + 1
            if width > 0 and height > 0:
                shared = width * height
                union = area(box) + area(thing["box"]) - shared
                if shared / union > overlap:
                    overlap, nearest = shared / union, thing
        if nearest and overlap >= 0.5 and nearest["difficult"]:
            continue
        if nearest and overlap >= 0.5 and not nearest["met"]:
            nearest["met"] = True
            right += 1
        else:
            wrong += 1
        curve.append((right / total, right / (right + wrong)))
    eleven = [
        max((precision for recall, precision in curve if recall >= threshold), default=0.0)
        for threshold in np.arange(0.0, 1.1, 0.1)
    ]
    steps = sorted({recall for recall, _ in curve} | {0.0})
    under = sum(
        (high - low) * max(precision for recall, precision in curve if recall >= high)
        for low, high in pairwise(steps)
    )
    return {"11points": sum(eleven) / 11, "area": under}


def area(box):
    return (box[2] - box[0] + 1) * (box[3] - box[1] + 1)


@settings(max_examples=200, deadline=None)
@given(seeds)
def test_both_voc_forms_are_those_of_a_brute_force(seed):
    images = draw_images(seed)
    ap = voc_average_precision(judge_all(images, len(CLASSES)), CLASSES)
    for label, name in enumerate(CLASSES):
        expected = brute_force(images, label)
        for form in ("11points", "area"):
            assert (name in ap[form]) == (expected is not None)
            if expected:
                assert ap[form][name] == pytest.approx(expected[form], abs=1e-6)


def test_of_equal_scores_the_first_in_the_list_comes_first():
    boxes = np.tile([10.0, 10, 50, 50], (40, 1))
    outcome = judge(boxes, np.full(40, 0.5), boxes[:1], boxes[:0])
    assert outcome.tolist() == [RIGHT, *[WRONG] * 39]
    # Over images likewise: that of the first counts before those of the others.
    image, label = np.arange(40), np.zeros(40, int)
    for first in (True, False):
        outcomes = DetectionOutcomes(
            images=image.astype(str),
            positives=np.eye(40, 1, 0 if first else -39, dtype=int),
            image=image,
            label=label,
            score=np.full(40, 0.5),
            correct=image == (0 if first else 39),
            ignored=np.zeros(40, bool),
        )
        ap = voc_average_precision(outcomes, ["thing"])["area"]["thing"]
        assert ap == pytest.approx(1.0 if first else 1 / 40)


@pytest.mark.parametrize("found", range(1, 11))
def test_recalls_that_meet_a_threshold_are_taken_as_mmdetection_takes_them(found):
    """Three of ten do not reach its .30000000000000004."""
    right = np.ones(found, bool)
    recalls = np.arange(1, found + 1) / 10
    expected = mmdet_average_precision(recalls[None], np.ones((1, found)), mode="11points")[0]
    assert average_precision(right, 10, "11points") == pytest.approx(expected)


@pytest.mark.parametrize("form", ["11points", "area"])
def test_both_voc_forms_are_mmdetections_where_no_scores_tie(form):
    """Its order of equal scores is not defined."""
    images = [image for seed in range(20) for image in draw_images(seed, distinct_scores=True)]
    found = [
        [
            np.hstack([i.found["bboxes"], i.found["scores"][:, None]])[i.found["labels"] == k]
            for k in range(len(CLASSES))
        ]
        for i in images
    ]
    truth = [
        {
            "bboxes": i.truth["bboxes"],
            "labels": i.truth["labels"],
            "bboxes_ignore": i.ignored["bboxes"],
            "labels_ignore": i.ignored["labels"],
        }
        for i in images
    ]
    options = {"iou_thr": 0.5, "use_legacy_coordinate": True, "eval_mode": form, "nproc": 1}
    _, theirs = eval_map(found, truth, logger="silent", dataset=CLASSES, **options)
    ours = voc_average_precision(judge_all(images, len(CLASSES)), CLASSES)[form]
    expected = {
        name: float(their["ap"])
        for name, their in zip(CLASSES, theirs, strict=True)
        if their["num_gts"]
    }
    assert ours == pytest.approx(expected, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(seeds)
def test_coco_forms_are_those_of_mmdetections_metric(seed):
    """Difficult objects as crowds, as it takes them; it is fed its own structures."""
    images = draw_images(seed)
    theirs = CocoMetric(metric="bbox", classwise=True)
    theirs.dataset_meta = {"classes": CLASSES}
    samples = [
        {
            "img_id": number,
            "ori_shape": (30, 30),
            "pred_instances": tensors(image.found),
            "instances": [
                {"bbox": box, "bbox_label": int(label), "ignore_flag": flag}
                for part, flag in ((image.truth, 0), (image.ignored, 1))
                for box, label in zip(part["bboxes"].tolist(), part["labels"], strict=True)
            ],
        }
        for number, image in enumerate(images)
    ]
    if not any(len(image.found["labels"]) for image in images):
        return  # it reports nothing at all then
    theirs.process({}, samples)
    with contextlib.redirect_stdout(io.StringIO()):
        expected = theirs.compute_metrics(theirs.results)
    ours = coco_average_precision(images, CLASSES)
    for form, key in (("coco", "mAP"), ("coco50", "mAP_50"), ("coco75", "mAP_75")):
        mean = np.mean(list(ours[form].values())) if ours[form] else -1
        assert mean == pytest.approx(expected[f"bbox_{key}"], abs=6e-4)  # it rounds to 3 digits
    for name in CLASSES:
        reference = expected[f"{name}_precision"]
        if name in ours["coco"]:
            assert ours["coco"][name] == pytest.approx(reference, abs=6e-4)
        else:
            assert np.isnan(reference)


def test_ap50_is_pycocotools_where_the_definitions_meet():
    """Objects far apart and none difficult: the same detections are right; COCO reads the curve at
    101 recalls, VOC at 11 or everywhere.
    """
    rng = np.random.default_rng(5)
    images = []
    for number in range(25):
        corners = np.array([(100 * x, 100 * y) for x in range(3) for y in range(3)], np.float32)
        objects = np.hstack([corners, corners + 40])
        there = rng.random(9) < 0.6
        shifted = objects + rng.integers(-2, 3, (9, 4))
        found = np.concatenate([shifted, shifted])[rng.random(18) < 0.6]  # twice, now and then
        images.append(
            JudgedImage(
                name=str(number),
                found={
                    "bboxes": found.astype(np.float32),
                    "labels": np.zeros(len(found), int),
                    "scores": rng.random(len(found)).astype(np.float32),
                },
                truth={"bboxes": objects[there], "labels": np.zeros(there.sum(), int)},
                ignored={"bboxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, int)},
            )
        )
    outcomes = judge_all(images, 1)
    order = np.argsort(-outcomes.score, kind="stable")
    right = np.cumsum(outcomes.correct[order])
    recall = right / outcomes.positives.sum()
    precision = right / np.arange(1, len(right) + 1)
    at_101 = [precision[recall >= r].max(initial=0) for r in np.linspace(0, 1, 101)]
    coco50 = coco_average_precision(images, ["cat"])["coco50"]["cat"]
    assert 0.3 < coco50 < 0.9
    assert coco50 == pytest.approx(np.mean(at_101), abs=1e-6)
    voc = voc_average_precision(outcomes, ["cat"])
    assert voc["area"]["cat"] == pytest.approx(coco50, abs=0.01)


def test_a_pixel_more_is_a_pixel_more():
    """Boxes are inclusive: 10 x 10 pixels over 20 x 10 overlap by a half exactly."""
    small, large = np.array([[0, 0, 9, 9]]), np.array([[0, 0, 19, 9]])
    label, none = np.array([0]), {"bboxes": np.zeros((0, 4)), "labels": np.zeros(0, int)}
    found = {"bboxes": small, "labels": label, "scores": np.array([0.5])}
    image = JudgedImage(
        name="a", found=found, truth={"bboxes": large, "labels": label}, ignored=none
    )
    assert judge_all([image], 1).correct.tolist() == [True]
    larger = JudgedImage(
        name="a",
        found=found,
        truth={"bboxes": large + np.array([0, 0, 1, 0]), "labels": label},
        ignored=none,
    )
    assert judge_all([larger], 1).correct.tolist() == [False]


def evaluated(metric, samples, classes):
    metric.dataset_meta = {"classes": classes}
    metric.process({}, samples)
    return metric.compute_metrics(metric.results)


def tensors(part):
    return {name: torch.as_tensor(value) for name, value in part.items()}


def samples_of(images):
    return [
        {
            "img_id": image.name,
            "img_path": image.path or f"/data/{image.name}.jpg",
            "pred_instances": tensors(image.found),
            "gt_instances": tensors(image.truth),
            "ignored_instances": tensors(image.ignored),
        }
        for image in images
    ]


@pytest.mark.parametrize("form", ["11points", "area", "coco"])
def test_the_headline_is_the_protocols_form_over_the_headline_classes(form, tmp_path):
    images = [image for seed in range(5) for image in draw_images(seed)]
    file = tmp_path / "outcomes.npz"
    metric = BoxAP(form, headline_classes=("dog", "ghost"), outcomes=str(file))
    figures = evaluated(metric, samples_of(images), CLASSES)
    assert figures["mAP"] == figures[f"mAP_{form}"] == figures[f"AP_{form}/dog"]
    per_class = [v for k, v in figures.items() if k.startswith(f"AP_{form}/")]
    assert len(per_class) == 3
    assert figures["mAP_all"] == pytest.approx(np.mean(per_class))

    kept = DetectionOutcomes.from_arrays(np.load(file, allow_pickle=False))
    whole = evaluated(BoxAP(), samples_of(images), CLASSES)
    assert metric_value(kept, "mAP 11-point") == pytest.approx(whole["mAP_11points"])
    assert metric_value(kept, "mAP area") == pytest.approx(whole["mAP_area"])


def test_nothing_found_is_zero_and_nothing_there_is_no_figure():
    nothing = {"bboxes": np.zeros((0, 4)), "labels": np.zeros(0, int)}
    found = {**nothing, "scores": np.zeros(0)}
    there = {"bboxes": np.array([[0, 0, 9, 9]]), "labels": np.array([0])}
    figures = evaluated(
        BoxAP(),
        samples_of([JudgedImage(name="a", found=found, truth=there, ignored=nothing)]),
        CLASSES,
    )
    assert figures["mAP"] == figures["mAP_coco"] == figures["AP_area/cat"] == 0
    empty = evaluated(
        BoxAP(),
        samples_of([JudgedImage(name="a", found=found, truth=nothing, ignored=there)]),
        CLASSES,
    )
    assert np.isnan(empty["mAP"])
    assert not any("/" in name for name in empty)


@settings(max_examples=50, deadline=None)
@given(seeds)
def test_pixels_are_counted_as_scikit_learn_counts_them(seed):
    rng = np.random.default_rng(seed)
    names = tuple("abcdef")
    masks = [rng.choice([0, 1, 2, 3, 4, 255], (2, 7, 5)) for _ in range(rng.integers(1, 4))]
    samples = []
    for truth, predicted in masks:
        predicted = np.where(predicted == 255, 0, predicted)
        samples.append(mask_sample(truth, predicted))
    figures = evaluated(MaskIoU(headline_classes=("b", "c")), samples, names)
    truth = np.concatenate([s["gt_sem_seg"]["data"].numpy().ravel() for s in samples])
    predicted = np.concatenate([s["pred_sem_seg"]["data"].numpy().ravel() for s in samples])
    kept = truth != 255
    truth, predicted = truth[kept], predicted[kept]
    seen = sorted(set(truth.tolist()))
    expected = dict(
        zip(
            [names[label] for label in seen],
            100 * jaccard_score(truth, predicted, labels=seen, average=None, zero_division=0),
            strict=True,
        )
    )
    assert {k[4:]: v for k, v in figures.items() if "/" in k} == pytest.approx(expected)
    assert figures["pixAcc"] == pytest.approx(100 * accuracy_score(truth, predicted))
    assert figures["mIoU_all"] == pytest.approx(np.mean(list(expected.values())))
    headline = [expected[name] for name in ("b", "c") if name in expected]
    assert figures["mIoU"] == pytest.approx(np.mean(headline), nan_ok=True)


def test_a_class_that_no_mask_has_stands_in_no_mean_whatever_is_predicted(tmp_path):
    """Else the row that never calls it would be averaged over fewer classes than the others."""
    from mmseg.evaluation import IoUMetric

    truth = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 255]])
    called = torch.tensor([[0, 0, 1, 1], [0, 2, 1, 2]])  # one of the two is not judged
    file = tmp_path / "outcomes.npz"
    metric = MaskIoU(outcomes=str(file))
    figures = evaluated(metric, [mask_sample(truth, called)], ("cat", "dog", "ghost"))
    assert figures["mIoU"] == figures["mIoU_all"] == pytest.approx(100 * (3 / 4 + 1) / 2)
    assert not any("ghost" in name for name in figures)
    kept = SegmentationOutcomes.from_arrays(np.load(file, allow_pickle=False))
    assert metric_value(kept, "mIoU") == pytest.approx(figures["mIoU"])
    theirs = IoUMetric.intersect_and_union(called, truth, num_classes=3, ignore_index=255)
    reference = IoUMetric.total_area_to_metrics(*theirs, metrics=["mIoU"])
    assert reference["IoU"].tolist() == pytest.approx([3 / 4, 1, 0])


def test_pixels_are_counted_to_the_last_of_a_large_image():
    """Not in float32, where 16,777,216 and one is 16,777,216, and where cores count for parts."""
    truth = torch.zeros(4097, 4097, dtype=torch.uint8)
    metric = MaskIoU()
    metric.dataset_meta = {"classes": ("a", "b")}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        metric.process(None, [mask_sample(truth, truth)])
    finally:
        torch.set_num_threads(threads)
    assert metric.results[0][1].tolist() == [[4097**2, 0]] * 3


def mask_sample(truth, predicted):
    return {
        "img_path": "folder/image.jpg",
        "gt_sem_seg": {"data": torch.as_tensor(truth)[None]},
        "pred_sem_seg": {"data": torch.as_tensor(predicted)[None]},
    }


def test_ground_truth_of_voc2007_scores_100(real_files):
    classes = classes_of("voc0712", "detection")
    data = VocBoxes(
        data_root=str(real_files / "VOCdevkit"),
        ann_file="VOC2007/ImageSets/Main/test.txt",
        data_prefix={"sub_data_root": "VOC2007/"},
        metainfo={"classes": classes},
        test_mode=True,
        pipeline=[
            {"type": LoadImageFromFile},
            {"type": LoadAnnotations, "with_bbox": True},
            {"type": PackDetInputs, "meta_keys": ("img_id",)},
        ],
    )
    samples = [data[index]["data_samples"] for index in range(len(data))]
    assert len(samples) == 10
    for sample in samples:
        boxes = [sample.gt_instances, sample.ignored_instances]
        sample.pred_instances = InstanceData(
            bboxes=torch.cat([part.bboxes.tensor for part in boxes]),
            labels=torch.cat([part.labels for part in boxes]),
            scores=torch.rand(sum(map(len, boxes)), generator=torch.manual_seed(0)),
        )
    figures = evaluated(BoxAP(), [sample.to_dict() for sample in samples], classes)
    assert figures["mAP"] == figures["mAP_11points"] == figures["mAP_area"] == 100
    assert figures["mAP_coco"] == pytest.approx(100, abs=1e-9)
    there = {name.split("/")[1] for name in figures if name.startswith("AP_area/")}
    assert len(there) >= 3


def test_real_masks_of_ade20k_score_100_and_are_counted_right(real_files, tmp_path):
    root = real_files / "ade20k"
    classes = classes_of("ade20k", "segmentation")
    data = IndexMasks(
        data_root=str(root),
        data_prefix={"img_path": "images/validation", "seg_map_path": "annotations/validation"},
        reduce_zero_label=True,
        metainfo={"classes": classes},
        pipeline=[
            {"type": "LoadImageFromFile"},
            {"type": "mmseg.LoadAnnotations"},
            {"type": "mmseg.PackSegInputs"},
        ],
    )
    samples = [data[index]["data_samples"] for index in range(len(data))]
    assert len(samples) == 3
    for sample in samples:
        truth = sample.gt_sem_seg.data
        sample.pred_sem_seg = PixelData(data=torch.where(truth == 255, 7, truth.long()))
    file = tmp_path / "outcomes.npz"
    metric = MaskIoU(outcomes=str(file))
    figures = evaluated(metric, [sample.to_dict() for sample in samples], classes)
    assert figures["mIoU"] == figures["pixAcc"] == 100
    kept = SegmentationOutcomes.from_arrays(np.load(file, allow_pickle=False))
    assert kept.labelled.shape == (3, 150)
    for name, counts in zip(kept.images, kept.labelled, strict=True):
        mask = np.asarray(Image.open(root / f"annotations/validation/{name}.png"))
        assert counts.tolist() == np.bincount(mask.ravel(), minlength=256)[1:151].tolist()


def test_the_150_classes_are_the_releases_own_in_its_order(real_files):
    listed = (real_files / "ade20k" / "objectInfo150.txt").read_text().splitlines()[1:]
    synonyms = [[s.strip() for s in line.split("\t")[-1].split(",")] for line in listed]
    ours = classes_of("ade20k", "segmentation")
    assert len(ours) == len(synonyms) == 150
    for name, known in zip(ours, synonyms, strict=True):
        assert name in known


def classes_of(name, task):
    """From the data set's file; the data set need not be here."""
    file = Path(__file__).resolve().parents[3] / "configs" / "datasets" / f"{name}.toml"
    return tuple(read_toml(file)[task]["classes"])
