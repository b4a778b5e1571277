"""Masks of objects: COCO's two forms, and what would take memory without bound."""

import numpy as np
import pytest
from pycocotools import mask as coco

from transfer.datasets.object_masks import fault_of_mask, rectangle

COUNTS = coco.encode(np.asfortranarray(np.eye(4, 6, dtype=np.uint8)))["counts"].decode()


@pytest.mark.parametrize(
    "mask",
    [
        rectangle(1, 1, 3, 2),
        [[0, 0, 5, 0, 5, 3], [1.5, 1, 2, 2, 1, 2]],
        {"size": [4, 6], "counts": COUNTS},
        {"size": [4, 6], "counts": [10, 4, 10]},
    ],
)
def test_sound_masks_are_drawn(mask):
    assert not fault_of_mask(mask, 6, 4)
    packed = isinstance(mask, dict) and isinstance(mask["counts"], str)
    drawn = mask if packed else coco.frPyObjects(mask, 4, 6)
    assert coco.area(drawn if isinstance(drawn, dict) else coco.merge(drawn)) > 0


@pytest.mark.parametrize(
    ("mask", "fact"),
    [
        ({"size": [10**6, 10**6], "counts": COUNTS}, "1000000"),
        ({"size": [4, 6], "counts": [10, 4, 10**12]}, "pixels"),
        ({"size": [4, 6], "counts": [-1, 25]}, "run lengths"),
        ({"size": [4, 6]}, "run lengths"),
        ([[0, 0, 1e9, 0, 0, 1e9]], "outline"),
        ([[0, 0, 4000, 4000] * 1000], "outline"),
        ([[0, 0, float("nan"), 1, 2, 2]], "not numbers"),
        ([[0, 0, "1", 1, 2, 2]], "not numbers"),
        ([[0, 0, 1, 1]], "4 coordinates"),
        ([[0, 0, 1, 1, 2]], "5 coordinates"),
        ([3, 4], "neither"),
        ("mask", "neither"),
    ],
)
def test_masks_without_bound_and_of_other_forms_are_refused(mask, fact):
    assert fact in fault_of_mask(mask, 6, 4)
