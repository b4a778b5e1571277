"""What the refinements' losses do to a classifier, beside what GluonCV v0.4 computed.

tests/fixtures/gluoncv/README.md says how the numbers were made.
"""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional

from backbones.training import augmentation
from backbones.tricks.distillation import distillation_loss
from backbones.tricks.label_smoothing import smooth_targets
from backbones.tricks.mixup import mix

FILE = Path(__file__).resolve().parents[2] / "fixtures" / "gluoncv" / "classifier_losses.npz"
EPSILON = 0.1


@pytest.fixture
def theirs():
    with np.load(FILE) as arrays:
        return {key: torch.from_numpy(arrays[key]).float() for key in arrays.files}


@pytest.fixture
def mixed(theirs, monkeypatch):
    """Mixing with their draw: one λ, each example with its mirror place in the batch."""
    chosen = torch.tensor([float(theirs["lam"])])
    monkeypatch.setattr(
        torch.distributions.Beta, "sample", lambda self, shape: chosen.expand(shape)
    )
    monkeypatch.setattr(torch, "randperm", lambda size: torch.arange(size).flip(0))
    images = torch.zeros(len(theirs["labels"]), 3, 1, 1)
    return lambda targets: mix(images, targets, 0.2, one_lambda=True)[1]


def one_hot(theirs):
    return functional.one_hot(theirs["labels"].long(), theirs["logits"].shape[1]).float()


def gradient(theirs, loss):
    logits = theirs["logits"].clone().requires_grad_()
    value = loss(logits)
    value.backward()
    return value.item(), logits.grad


@pytest.mark.parametrize(
    ("name", "smooth", "mixing"),
    [
        ("hard", False, False),
        ("smoothed", True, False),
        ("mixed", False, True),
        ("mixed_smoothed", True, True),
    ],
)
def test_smoothing_and_mixup(name, smooth, mixing, theirs, mixed):
    targets = one_hot(theirs)
    targets = smooth_targets(targets, EPSILON, over_all=True) if smooth else targets
    targets = mixed(targets) if mixing else targets
    if name != "hard":
        torch.testing.assert_close(targets, theirs[f"{name}_targets"], rtol=1e-5, atol=1e-6)
    value, own = gradient(theirs, lambda logits: functional.cross_entropy(logits, targets))
    assert value == pytest.approx(float(theirs[f"{name}_loss"].mean()), rel=1e-5)
    torch.testing.assert_close(own, theirs[f"{name}_gradient"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("name", "mixing"), [("distilled", False), ("distilled_mixed", True)])
def test_distillation(name, mixing, theirs, mixed):
    targets = smooth_targets(one_hot(theirs), EPSILON, over_all=True)
    targets = mixed(targets) if mixing else targets
    value, own = gradient(
        theirs, lambda logits: distillation_loss(logits, theirs["teacher"], targets, halved=True)
    )
    assert value == pytest.approx(float(theirs[f"{name}_loss"].mean()), rel=1e-5)
    torch.testing.assert_close(own, theirs[f"{name}_gradient"], rtol=1e-4, atol=1e-6)


def test_the_paper_smooths_over_the_other_classes_alone(theirs):
    ours = smooth_targets(one_hot(theirs), EPSILON)
    assert float((ours - theirs["smoothed_targets"]).abs().max()) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("authors_code", [True, False])
def test_the_authors_code_shrinks_images_bilinearly(authors_code):
    """MXNet's readers do by default; areas are averaged otherwise."""
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    method = cv2.INTER_LINEAR if authors_code else cv2.INTER_AREA
    expected = cv2.resize(image, (37, 37), interpolation=method)[2:34, 2:34]
    cropped = augmentation.centre_crop(image, 32, bilinear=authors_code)
    assert np.array_equal(cropped, expected)
    drawn = augmentation.random_crop(image, 8, np.random.default_rng(1), bilinear=authors_code)
    other = augmentation.random_crop(image, 8, np.random.default_rng(1), bilinear=not authors_code)
    assert not np.array_equal(drawn, other)
