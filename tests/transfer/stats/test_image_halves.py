import dataclasses
import io
import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.common.errors import UserError
from transfer.stats import image_halves
from transfer.stats.image_halves import (
    DetectionOutcomes,
    SegmentationOutcomes,
    _draws,
    metric_on_draws,
    metric_value,
    paired_halves,
    reach_of_draws,
)

DETECTION_METRICS = ("mAP 11-point", "mAP area")


def detections(found, positives) -> DetectionOutcomes:
    """Outcomes from (image, label, score, "tp" | "fp" | "ignored") and (images, classes)."""
    positives = np.array(positives)
    image, label, score, kind = zip(*found, strict=True) if found else ((), (), (), ())
    return DetectionOutcomes(
        images=np.array([f"{i:06d}" for i in range(len(positives))]),
        positives=positives,
        image=np.array(image, dtype=int),
        label=np.array(label, dtype=int),
        score=np.array(score, dtype=float),
        correct=np.array([k == "tp" for k in kind], dtype=bool),
        ignored=np.array([k == "ignored" for k in kind], dtype=bool),
    )


def random_detector(rng, images=12, classes=3, each=4, skill=0.5) -> DetectionOutcomes:
    count = images * each
    kinds = rng.choice(["tp", "fp", "ignored"], size=count, p=[skill, 0.9 - skill, 0.1])
    found = zip(
        rng.integers(images, size=count),
        rng.integers(classes, size=count),
        rng.integers(8, size=count) / 8,  # few values, so that there are ties
        kinds,
        strict=True,
    )
    positives = rng.integers(0, 5, size=(images, classes))
    return detections(list(found), positives)


def plain_map(outcomes: DetectionOutcomes, copies, metric) -> float:
    """The mean AP of a test set in which image i is there copies[i] times, the long way round."""
    precisions_at = np.arange(0, 1.001, 0.1)
    values = []
    for label in range(outcomes.positives.shape[1]):
        positives = int((outcomes.positives[:, label] * copies).sum())
        if positives == 0:
            continue
        ranked = sorted(range(len(outcomes.score)), key=lambda d: -outcomes.score[d])
        true = false = 0
        curve = []
        for d in ranked:
            if outcomes.label[d] != label or outcomes.ignored[d]:
                continue
            for _ in range(copies[outcomes.image[d]]):
                true += int(outcomes.correct[d])
                false += int(not outcomes.correct[d])
                curve.append((true / positives, true / (true + false)))
        if metric == "mAP 11-point":
            best = [max((p for r, p in curve if r >= at), default=0) for at in precisions_at]
            values.append(sum(best) / 11)
            continue
        area, last = 0.0, 0.0
        for i, (recall, _) in enumerate(curve):
            area += (recall - last) * max(p for _, p in curve[i:])
            last = recall
        values.append(area)
    return 100 * sum(values) / len(values) if values else np.nan


def test_average_precision_by_hand():
    # One class, four objects; in order of score: hit, miss, hit, hit. Recall .25 .25 .5 .75,
    # precision 1, 1/2, 2/3, 3/4, so the best precision from each recall on is 1, 3/4, 3/4.
    found = [(0, 0, 0.9, "tp"), (0, 0, 0.8, "fp"), (1, 0, 0.7, "tp"), (1, 0, 0.6, "tp")]
    outcomes = detections(found, [[2], [2]])
    assert metric_value(outcomes, "mAP area") == pytest.approx(100 * (1 + 0.75 + 0.75) / 4)
    # Recalls 0, .1, .2 see 1; .3 to .7 see .75; .8 to 1 are not reached.
    assert metric_value(outcomes, "mAP 11-point") == pytest.approx(100 * (3 + 5 * 0.75) / 11)


def test_a_recall_of_three_tenths_does_not_reach_the_toolboxes_threshold():
    """0.1 three times over is .30000000000000004 there, and so it is in MMDetection and GluonCV."""
    found = [(0, 0, score, "tp") for score in (0.9, 0.8, 0.7)]
    assert metric_value(detections(found, [[10]]), "mAP 11-point") == pytest.approx(100 * 3 / 11)


def test_draws_without_any_object_are_left_out():
    missed, hit = (detections([(0, 0, 0.9, kind)], [[1], [0]]) for kind in ("fp", "tp"))
    result = paired_halves([[missed]], [[hit]], "mAP area", resamples=200)
    drawn = np.concatenate(list(_draws(2, 200)), axis=1)[0] > 0
    assert 0 < result.resamples == drawn.sum() < 200
    assert (result.difference, result.low, result.high) == (100, 100, 100)


def test_difficult_matches_count_as_neither_and_equal_scores_keep_their_order():
    found = [(0, 0, 0.9, "ignored"), (0, 0, 0.8, "tp"), (0, 0, 0.8, "fp")]
    assert metric_value(detections(found, [[1]]), "mAP area") == pytest.approx(100)
    turned = [found[0], found[2], found[1]]
    assert metric_value(detections(turned, [[1]]), "mAP area") == pytest.approx(50)


def test_classes_without_objects_are_left_out_of_the_mean():
    found = [(0, 0, 0.9, "tp"), (0, 1, 0.9, "fp")]
    assert metric_value(detections(found, [[1, 0]]), "mAP area") == pytest.approx(100)
    assert np.isnan(metric_value(detections(found, [[0, 0]]), "mAP area"))
    assert metric_value(detections([], [[1, 0]]), "mAP area") == 0


def assert_reach(result, differences):
    """The interval reaches 1.96 times the draws' root mean square distance."""
    errors = np.array(differences) - result.difference
    reach = 1.96 * np.sqrt((errors**2).mean())
    ends = result.difference - reach, result.difference + reach
    assert (result.low, result.high) == pytest.approx(ends)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(DETECTION_METRICS))
def test_a_draw_is_a_test_set_with_copied_images(seed, metric):
    rng = np.random.default_rng(seed)
    outcomes = random_detector(rng)
    copies = rng.multinomial(12, [1 / 12] * 12)
    weights = copies[:, None].astype(np.int32)
    weighted = float(metric_on_draws(outcomes, metric, weights)[0])
    assert weighted == pytest.approx(plain_map(outcomes, copies, metric), nan_ok=True)


@pytest.mark.parametrize("metric", DETECTION_METRICS)
def test_paired_halves_of_detectors_the_long_way_round(metric):
    rng = np.random.default_rng(1)
    weak, strong = random_detector(rng, skill=0.3), random_detector(rng, skill=0.7)
    strong = dataclasses.replace(strong, positives=weak.positives)
    result = paired_halves([[weak]], [[strong]], metric, resamples=120)
    draws = np.concatenate(list(_draws(12, 120)), axis=1).T
    assert (draws.sum(axis=1) == 6).all()
    assert draws.max() == 1
    differences = [
        plain_map(strong, copies, metric) - plain_map(weak, copies, metric) for copies in draws
    ]
    assert_reach(result, differences)
    once = np.ones(12, dtype=int)
    assert result.baseline == pytest.approx(plain_map(weak, once, metric))
    assert result.difference == pytest.approx(plain_map(strong, once, metric) - result.baseline)


def class_counts(maps, keep, classes) -> np.ndarray:
    return np.stack([((maps == c) & keep).sum(axis=1) for c in range(classes)], axis=1)


def segmented(rng, images=30, error=0.3, labels=None) -> SegmentationOutcomes:
    """Outcomes counted from small label maps, a share of whose pixels is called at random."""
    classes = 4
    labels = rng.integers(classes - 1, size=(images, 50)) if labels is None else labels
    wrong = rng.random(labels.shape) < error
    called = np.where(wrong, rng.integers(classes - 1, size=labels.shape), labels)
    return SegmentationOutcomes(
        images=np.array([f"ADE_val_{i:08d}" for i in range(images)]),
        intersection=class_counts(labels, labels == called, classes),
        predicted=class_counts(called, np.ones_like(wrong), classes),
        labelled=class_counts(labels, np.ones_like(wrong), classes),
    )


def test_miou_and_pixel_accuracy_by_hand():
    outcomes = SegmentationOutcomes(
        images=np.array(["a", "b"]),
        intersection=np.array([[3, 1, 0], [2, 0, 0]]),
        predicted=np.array([[4, 2, 0], [2, 1, 1]]),
        labelled=np.array([[5, 1, 0], [2, 2, 0]]),
    )
    # Summed over images: 5 of 6 + 7 - 5, and 1 of 3 + 3 - 1; nothing is of the third class, though
    # a pixel is called so.
    assert metric_value(outcomes, "mIoU") == pytest.approx(100 * (5 / 8 + 1 / 5) / 2)
    assert metric_value(outcomes, "pixAcc") == pytest.approx(100 * 6 / 10)


@pytest.mark.parametrize("metric", ["mIoU", "pixAcc"])
def test_paired_halves_of_segmenters_the_long_way_round(metric):
    rng = np.random.default_rng(2)
    labels = rng.integers(3, size=(30, 50))
    weak, strong = (segmented(rng, error=e, labels=labels) for e in (0.4, 0.3))
    result = paired_halves([[weak]], [[strong]], metric, resamples=200)

    def copied(outcomes, copies):
        return metric_value(
            SegmentationOutcomes(
                *(
                    np.repeat(getattr(outcomes, field.name), copies, axis=0)
                    for field in dataclasses.fields(outcomes)
                )
            ),
            metric,
        )

    draws = np.concatenate(list(_draws(30, 200)), axis=1).T
    differences = [copied(strong, copies) - copied(weak, copies) for copies in draws]
    assert_reach(result, differences)


def test_the_interval_agrees_with_the_formula_where_there_is_one():
    # With as many pixels in each image, the difference of pixel accuracies is a plain mean.
    rng = np.random.default_rng(3)
    labels = rng.integers(3, size=(400, 50))
    weak, strong = (segmented(rng, images=400, error=e, labels=labels) for e in (0.4, 0.3))
    result = paired_halves([[weak]], [[strong]], "pixAcc", resamples=4000)
    each = 100 * (strong.intersection.sum(axis=1) - weak.intersection.sum(axis=1)) / 50
    half = 1.96 * each.std(ddof=1) / np.sqrt(400)
    assert result.difference == pytest.approx(each.mean())
    assert (result.low, result.high) == pytest.approx(
        (each.mean() - half, each.mean() + half), abs=0.1 * half
    )


def test_halves_of_an_odd_number_have_the_variance_of_all():
    values = np.random.default_rng(4).normal(size=7)
    distances = [np.mean(half) - values.mean() for half in itertools.combinations(values, 3)]
    expected = 1.96 * values.std(ddof=1) / np.sqrt(7)
    assert reach_of_draws(np.array(distances), 7) == pytest.approx(expected)
    assert np.isnan(reach_of_draws(np.array([]), 7))


def test_a_row_against_itself_differs_by_nothing_on_any_draw():
    outcomes = random_detector(np.random.default_rng(4))
    result = paired_halves([[outcomes]], [[outcomes]], "mAP area", resamples=50)
    assert (result.difference, result.low, result.high) == (0, 0, 0)


def test_several_fine_tunings_of_a_row_are_averaged_on_each_draw():
    rng = np.random.default_rng(5)
    runs = [random_detector(rng, skill=0.5) for _ in range(3)]
    runs = [dataclasses.replace(run, positives=runs[0].positives) for run in runs]
    units = [runs[:1], runs[1:]]  # two classifiers, one of which was fine-tuned twice
    result = paired_halves([runs[:1]], units, "mAP area", resamples=50)
    first, second, third = (metric_value(run, "mAP area") for run in runs)
    assert result.row == pytest.approx((first + (second + third) / 2) / 2)
    assert result == paired_halves([runs[:1]], units, "mAP area", resamples=50)  # no chance
    alone = paired_halves([runs[:1]], [runs[1:]], "mAP area", resamples=50)
    # The first against itself differs by nothing, so half of the other's difference is left.
    assert (result.low, result.high) == pytest.approx((alone.low / 2, alone.high / 2))


@pytest.mark.parametrize("kind", [DetectionOutcomes, SegmentationOutcomes])
def test_outcomes_survive_a_compressed_file(kind):
    rng = np.random.default_rng(6)
    outcomes = random_detector(rng) if kind is DetectionOutcomes else segmented(rng)
    file = io.BytesIO()
    np.savez_compressed(file, **outcomes.to_arrays())
    file.seek(0)
    with np.load(file) as arrays:  # refuses pickled objects
        again = kind.from_arrays(arrays)
    for field in dataclasses.fields(kind):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(outcomes, field.name))
    assert all(array.dtype.itemsize <= 4 for array in list(outcomes.to_arrays().values())[1:])


def test_what_does_not_fit_is_refused():
    outcomes = random_detector(np.random.default_rng(7))
    arrays = outcomes.to_arrays()
    with pytest.raises(UserError, match="lack score"):
        DetectionOutcomes.from_arrays({k: v for k, v in arrays.items() if k != "score"})
    with pytest.raises(UserError, match="differ in length"):
        DetectionOutcomes.from_arrays({**arrays, "score": arrays["score"][1:]})
    with pytest.raises(UserError, match="label 0 to 2, but there are only 2"):
        DetectionOutcomes.from_arrays({**arrays, "positives": arrays["positives"][:, :2]})
    with pytest.raises(UserError, match="12 images need"):
        DetectionOutcomes.from_arrays({**arrays, "positives": arrays["positives"][1:]})


def test_only_the_same_test_set_can_be_paired():
    outcomes = random_detector(np.random.default_rng(8))
    other = dataclasses.replace(outcomes, images=outcomes.images[::-1])
    with pytest.raises(UserError, match="same images in the same order"):
        paired_halves([[outcomes]], [[other]], "mAP area")
    other = dataclasses.replace(outcomes, positives=outcomes.positives + 1)
    with pytest.raises(UserError, match="different labels"):
        paired_halves([[outcomes]], [[other]], "mAP area")


def seconds_of_draws(images):
    rng = np.random.default_rng(9)
    weak, strong = (random_detector(rng, images=images, classes=20, each=30) for _ in range(2))
    strong = dataclasses.replace(strong, positives=weak.positives)
    started = time.process_time()
    paired_halves([[weak]], [[strong]], "mAP 11-point", resamples=200)
    return time.process_time() - started


def test_a_large_test_set_is_drawn_in_smaller_pieces_with_the_same_result(monkeypatch):
    run = random_detector(np.random.default_rng(10))
    whole = paired_halves([[run]], [[run]], "mAP area", resamples=250)
    drawn = np.concatenate(list(_draws(12, 250)), axis=1)
    pieces = list(_draws(12, 250, 7))
    assert {piece.shape[1] for piece in pieces} == {7, 250 % 7}
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), drawn)
    monkeypatch.setattr(image_halves, "_NUMBERS_AT_ONCE", 48 * 3)
    again = dataclasses.replace(run)  # results are kept by object
    assert paired_halves([[again]], [[again]], "mAP area", resamples=250) == whole


def test_halves_that_would_take_hours_are_refused(monkeypatch):
    run = random_detector(np.random.default_rng(11))
    monkeypatch.setattr(image_halves, "_MOST", 47)
    with pytest.raises(UserError, match="48 images or detections"):
        paired_halves([[run]], [[run]], "mAP area")


@pytest.mark.slow
def test_the_work_grows_with_the_images_and_not_with_their_square():
    """Up to the size of VOC; the smallest of three, since other programs take the cache."""
    half, whole = (min(seconds_of_draws(images) for _ in range(3)) for images in (2500, 5000))
    assert whole <= 3 * half, "the square of twice as many would be 4 times"
