"""The authors' multi-scale test, re-derived loop by loop; their blur; their head."""

import copy
import random
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope, init_default_scope
from PIL import Image, ImageFilter
from torch.nn import functional

import transfer.openmmlab  # noqa: F401
from transfer.protocols.gluoncv.blur import RandomGaussianBlur
from transfer.protocols.gluoncv.fcn_head import SlimFCNHead
from transfer.protocols.gluoncv.multi_scale_test import MultiScaleSegmentor

CLASSES = 4
MEAN, STD = (120.0, 110.0, 100.0), (60.0, 55.0, 50.0)
SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
BASE, CROP = 52, 48


@pytest.fixture(scope="module")
def segmentor():
    init_default_scope("mmseg")
    torch.manual_seed(0)
    model = MultiScaleSegmentor(
        backbone={"type": "TimmPyramid", "architecture": "resnet18d", "output_stride": 8},
        decode_head={
            "type": "SlimFCNHead",
            "in_channels": 512,
            "in_index": 3,
            "num_classes": CLASSES,
            "norm_cfg": {"type": "BN"},
            "align_corners": True,
        },
        data_preprocessor={
            "type": "SegDataPreProcessor",
            "mean": MEAN,
            "std": STD,
            "bgr_to_rgb": True,
        },
        test_cfg={"scales": SCALES, "base_size": BASE, "crop_size": CROP, "stride": 2 / 3},
    ).eval()
    # Logits of several units, so that the exponential matters.
    torch.nn.init.normal_(model.decode_head.conv_seg.weight, std=0.5)
    return model


def rederived(model, image):
    """The rule as the authors' evaluator has it, for one (3, H, W) image."""
    black = [-m / s for m, s in zip(MEAN, STD, strict=True)]
    _, height, width = image.shape
    total = np.zeros((CLASSES, height, width))
    for scale in SCALES:
        long = int(np.ceil(BASE * scale))
        if height > width:
            h, w = long, int(width * long / height + 0.5)
        else:
            h, w = int(height * long / width + 0.5), long
        small = stretch(image, h, w)
        if long <= CROP:
            score = exp_scores(model, filled(small, black))[:, :h, :w]
        else:
            score = crops_averaged(
                model, filled(small, black) if min(h, w) < CROP else small, black
            )
            score = score[:, :h, :w]
        total += stretch(score, height, width).numpy()
    return total


def crops_averaged(model, image, black):
    _, height, width = image.shape
    step = int(CROP * 2.0 / 3.0)
    rows = int(np.ceil((height - CROP) / step)) + 1
    columns = int(np.ceil((width - CROP) / step)) + 1
    summed, seen = image.new_zeros(CLASSES, height, width), image.new_zeros(1, height, width)
    for top in (row * step for row in range(rows)):
        for left in (column * step for column in range(columns)):
            bottom, right = min(top + CROP, height), min(left + CROP, width)
            part = exp_scores(model, filled(image[:, top:bottom, left:right], black))
            summed[:, top:bottom, left:right] += part[:, : bottom - top, : right - left]
            seen[:, top:bottom, left:right] += 1
    assert seen.min() >= 1
    return summed / seen


def exp_scores(model, crop):
    assert crop.shape == (3, CROP, CROP)
    upright = logits(model, crop)
    mirrored = logits(model, torch.flip(crop, [2]))
    return (upright + torch.flip(mirrored, [2])).exp()


def logits(model, crop):
    return stretch(model.decode_head(model.backbone(crop[None]))[0], CROP, CROP)


def filled(image, colour):
    """To the crop's size at least, with a colour below and to the right."""
    _, height, width = image.shape
    pixel = image.new_tensor(colour)[:, None, None]
    canvas = pixel.repeat(1, max(height, CROP), max(width, CROP))
    canvas[:, :height, :width] = image
    return canvas


def stretch(image, height, width):
    """Bilinear by hand: the corners' centres are laid on each other."""
    along_y = blend(image.shape[1], height)
    along_x = blend(image.shape[2], width)
    return torch.einsum("hy,cyx,wx->chw", along_y.to(image), image, along_x.to(image))


def blend(old, new):
    weights = torch.zeros(new, old)
    for i in range(new):
        place = i * (old - 1) / (new - 1)
        low = min(int(place), old - 1)
        weights[i, low] += 1 - (place - low)
        if low + 1 < old:
            weights[i, low + 1] += place - low
    return weights


@pytest.mark.parametrize("size", [(68, 45), (45, 68), (48, 48), (20, 31)])
def test_the_merge_is_the_authors(segmentor, size):
    """Upright, wide, square, and smaller than the crop in both directions."""
    image = torch.randn(3, *size, generator=torch.Generator().manual_seed(sum(size)))
    with torch.no_grad():
        scores = segmentor.inference(image[None], [])[0]
        expected = rederived(segmentor, image)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-3)


def test_nothing_is_normalised(segmentor):
    """Softmaxes would add up to the same at every pixel; logits would be negative somewhere."""
    image = torch.randn(3, 68, 45, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores = segmentor.inference(image[None], [])[0]
    assert scores.sum(0).std() > 0.1 * scores.sum(0).mean()
    assert (scores > 0).all()


def test_logits_too_large_for_the_exponential(segmentor):
    """A sum above 88.7 is infinite in float32, and resizing makes no number of infinity times 0."""
    model = copy.deepcopy(segmentor)
    image = torch.randn(3, 68, 45, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        model.decode_head.conv_seg.weight[2] *= 100  # one class, and not everywhere
        scores = model.inference(image[None], [])[0]
        expected = rederived(model.double(), image.double())
    assert expected.max() > 1e40, "more than float32 can hold"
    labels = expected.argmax(0)
    assert 0.05 < (labels == 2).mean() < 0.5
    assert torch.isfinite(scores).all()
    assert (scores.argmax(0).numpy() == labels).mean() > 0.99


def test_smaller_logits_are_left_alone_to_the_bit(segmentor):
    crops = torch.randn(2, 3, CROP, CROP, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        upright = segmentor.encode_decode(crops, [{"img_shape": (CROP, CROP)}])
        mirrored = segmentor.encode_decode(crops.flip(-1), [{"img_shape": (CROP, CROP)}])
        scores = segmentor._flipped_scores(crops)
    assert torch.equal(scores, torch.exp(upright + mirrored.flip(-1)))


def test_a_batch_is_its_images(segmentor):
    images = torch.randn(2, 3, 50, 36, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        both = segmentor.inference(images, [])
        alone = torch.cat([segmentor.inference(image[None], []) for image in images])
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-4)


def test_a_greyscale_file_smaller_than_the_crop(segmentor, tmp_path):
    """From the file to the labels, through the pipeline that the protocol tests with."""
    grey = np.random.default_rng(0).integers(0, 256, (30, 41), np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    with DefaultScope.overwrite_default_scope("mmseg"):
        pipeline = Compose([{"type": "LoadImageFromFile"}, {"type": "PackSegInputs"}])
        packed = pipeline({"img_path": str(tmp_path / "grey.png")})
    with torch.no_grad():
        (result,) = segmentor.test_step(
            {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}
        )
        rgb = torch.from_numpy(grey).float().repeat(3, 1, 1)
        normalised = (rgb - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        expected = rederived(segmentor, normalised).argmax(0)
    found = result.pred_sem_seg.data[0].numpy()
    assert found.shape == (30, 41)
    assert (found == expected).mean() > 0.999


def test_blur_is_pillows():
    image = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    random.seed(5)
    blurred = RandomGaussianBlur(prob=1.0)({"img": image})["img"]
    random.seed(5)
    random.random()
    radius = random.random()
    expected = Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius))
    np.testing.assert_array_equal(blurred, np.asarray(expected))
    assert (blurred != image).any()
    assert blurred.dtype == np.uint8


def test_how_often_it_blurs():
    image = np.random.default_rng(2).integers(0, 256, (8, 8, 3), np.uint8)
    random.seed(0)
    blur = RandomGaussianBlur(prob=0.5)
    times = sum((blur({"img": image})["img"] != image).any() for _ in range(400))
    assert 120 < times < 240  # a radius near 0 changes nothing


def test_the_head_drops_single_values():
    torch.manual_seed(0)
    head = SlimFCNHead(
        in_channels=64, in_index=0, num_classes=3, norm_cfg={"type": "BN"}, dropout_ratio=0.1
    )
    dropped = head.dropout.train()(torch.ones(1, 16, 50, 50)) == 0
    assert dropped.float().mean() == pytest.approx(0.1, abs=0.01)
    assert dropped.flatten(1).float().std() > 0
    assert 0 < dropped[0, 0].float().mean() < 1, "a channel is dropped as a whole"


def test_a_rounding_of_the_stride_can_leave_no_pixel_out(segmentor):
    """For many lengths, every pixel of the padded image is in some crop."""
    for length in range(CROP, 4 * CROP):
        starts = list(segmentor._starts(length))
        assert starts[0] == 0
        assert starts[-1] + CROP >= length
        assert all(after - before < CROP for before, after in pairwise(starts))
        assert len(starts) == -(-(length - CROP) // 32) + 1


def test_resizing_is_what_the_rederivation_says():
    image = torch.rand(2, 7, 5)
    resized = functional.interpolate(image[None], (13, 4), mode="bilinear", align_corners=True)[0]
    torch.testing.assert_close(resized, stretch(image, 13, 4))
