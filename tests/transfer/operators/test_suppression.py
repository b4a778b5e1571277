import math

import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, nms, nms_match, soft_nms


def some_boxes(seed, count=60):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 50
    sides = 5 + 30 * torch.rand(count, 2, generator=generator)
    return torch.cat([corner, corner + sides], dim=1), torch.rand(count, generator=generator)


def iou(a, b, offset):
    width = min(a[2], b[2]) - max(a[0], b[0]) + offset
    height = min(a[3], b[3]) - max(a[1], b[1]) + offset
    overlap = max(width, 0.0) * max(height, 0.0)
    areas = [(c[2] - c[0] + offset) * (c[3] - c[1] + offset) for c in (a, b)]
    return overlap / (sum(areas) - overlap)


def brute_force_nms(boxes, scores, threshold, offset):
    order = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept: list[int] = []
    for i in order:
        if all(iou(boxes[i], boxes[j], offset) <= threshold for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("seed", range(5))
def test_nms_equals_brute_force(offset, seed):
    boxes, scores = some_boxes(seed)
    _, kept = nms(boxes, scores, 0.4, offset=offset)
    assert kept.tolist() == brute_force_nms(boxes.tolist(), scores.tolist(), 0.4, offset)


def test_nms_by_class_equals_brute_force_in_each():
    boxes, scores = some_boxes(7)
    classes = torch.arange(60) % 3
    found, kept = batched_nms(boxes, scores, classes, {"type": "nms", "iou_threshold": 0.4})
    expected = []
    for c in range(3):
        own = torch.arange(60)[classes == c]
        picked = brute_force_nms(boxes[own].tolist(), scores[own].tolist(), 0.4, 0)
        expected += own[picked].tolist()
    assert kept.tolist() == sorted(expected, key=lambda i: -scores[i])
    torch.testing.assert_close(found, torch.cat([boxes[kept], scores[kept, None]], dim=1))


DECAYS = {  # the paper's equations 2 and 3, and plain suppression
    "naive": lambda overlap, threshold, sigma: float(overlap < threshold),
    "linear": lambda overlap, threshold, sigma: 1 - overlap if overlap >= threshold else 1.0,
    "gaussian": lambda overlap, threshold, sigma: math.exp(-(overlap**2) / sigma),
}


def soft_nms_of_the_paper(boxes, scores, decay, least, offset):
    """The pseudo-code of Figure 2: take the best, lower the others, repeat."""
    left, scores, kept = list(range(len(boxes))), list(scores), []
    while left:
        best = max(left, key=lambda i: scores[i])
        kept.append((best, scores[best]))
        left.remove(best)
        for i in left:
            scores[i] *= decay(iou(boxes[best], boxes[i], offset))
        left = [i for i in left if scores[i] >= least]
    return kept


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("method", DECAYS)
@pytest.mark.parametrize("seed", range(3))
def test_soft_nms_is_the_papers_algorithm(method, offset, seed):
    boxes, scores = some_boxes(seed)
    found, kept = soft_nms(boxes, scores, 0.3, 0.4, 0.05, method, offset)
    expected = soft_nms_of_the_paper(
        boxes.tolist(), scores.tolist(), lambda x: DECAYS[method](x, 0.3, 0.4), 0.05, offset
    )
    assert kept.tolist() == [index for index, _ in expected]
    assert 1 < len(kept) < 60
    torch.testing.assert_close(found[:, :4], boxes[kept])
    torch.testing.assert_close(found[:, 4], torch.tensor([score for _, score in expected]))


def test_soft_nms_by_class_as_test_configs_ask_for_it():
    boxes, scores = some_boxes(3)
    classes = torch.arange(60) % 2
    how = {"type": "soft_nms", "iou_threshold": 0.5, "min_score": 0.05}
    found, kept = batched_nms(boxes, scores, classes, how)
    expected = {}
    for c in range(2):
        own = torch.arange(60)[classes == c]
        of_class, picked = soft_nms(boxes[own], scores[own], 0.5, min_score=0.05)
        expected |= dict(zip(own[picked].tolist(), of_class[:, 4].tolist(), strict=True))
    assert set(kept.tolist()) == set(expected)
    lowered = torch.tensor([expected[i] for i in kept.tolist()])
    torch.testing.assert_close(found[:, 4], lowered, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", DECAYS)
def test_soft_nms_of_boxes_without_area_and_of_none(method):
    boxes = np.array([[4, 3, 5, 3], [4, 3, 5, 4], [3, 1, 3, 1], [3, 1, 3, 1]], dtype=np.float32)
    scores = np.array([0.9, 0.8, 0.5, 0.4], dtype=np.float32)
    found, kept = soft_nms(boxes, scores, method=method)
    assert kept.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(found[:, 4], scores)
    assert soft_nms(boxes[:0], scores[:0], method=method)[0].shape == (0, 5)


def test_soft_nms_of_low_precision_computes_in_float32():
    boxes, scores = (each.half() for each in some_boxes(1))
    found, kept = soft_nms(boxes, scores, method="gaussian")
    exact, same = soft_nms(boxes.float(), scores.float(), method="gaussian")
    assert kept.tolist() == same.tolist()
    torch.testing.assert_close(found, exact.half(), rtol=0, atol=0)


@pytest.mark.parametrize("seed", range(3))
def test_nms_groups_have_each_box_with_the_best_that_suppresses_it(seed):
    boxes, scores = some_boxes(seed)
    groups = [group.tolist() for group in nms_match(torch.cat([boxes, scores[:, None]], 1), 0.4)]
    order = scores.argsort(descending=True).tolist()
    expected: dict[int, list[int]] = {}
    for i in order:
        owners = [k for k in expected if iou(boxes[i].tolist(), boxes[k].tolist(), 0) >= 0.4]
        expected.setdefault(owners[0] if owners else i, []).append(i)
    assert groups == list(expected.values())
    assert any(len(group) > 1 for group in groups)
