"""Protocol `paper` against the authors' own code: numbers that GluonCV computed, ours beside them.

tests/fixtures/gluoncv/README.md says how each file was made.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.image import rescale_size
from mmengine.config import ConfigDict
from mmengine.registry import DATASETS, MODELS, DefaultScope, init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample
from torch import nn
from torch.nn import functional
from torchvision.ops import box_iou

import transfer.openmmlab  # noqa: F401
from tests.support.protocol_objects import configured, learning_rates
from transfer.metrics.metrics import MaskIoU
from transfer.protocols.gluoncv.multi_scale_test import MultiScaleSegmentor

THEIRS = Path(__file__).resolve().parents[2] / "fixtures" / "gluoncv"
NUMBERS = json.loads((THEIRS / "numbers.json").read_text())
IGNORED = 255


def theirs(name):
    """A fixture's arrays as tensors; the labels' -1 is our 255 where pixels have them."""
    with np.load(THEIRS / f"{name}.npz") as arrays:
        return {key: tensor(arrays[key]) for key in arrays.files}


def tensor(array):
    whole = np.issubdtype(array.dtype, np.integer)
    return torch.from_numpy(np.asarray(array, np.int64 if whole else np.float32).copy())


# --- the segmenter -----------------------------------------------------------------------------


def gradients(segmenter, found, labels, parts):
    """Of both heads' losses, averaged over processes that have a part of the batch each."""
    both = []
    for role, head in (("main", segmenter.decode_head), ("aux", segmenter.auxiliary_head)):
        logits = found[role].clone().requires_grad_()
        for images, wanted in zip(logits.chunk(parts), labels.chunk(parts), strict=True):
            (head.loss_decode(images, wanted, ignore_index=IGNORED) / parts).backward()
        both.append(logits.grad)
    return both


@pytest.mark.parametrize(("devices", "share"), [(1, 1 / 16), (4, 1 / 4), (8, 1 / 2)])
@pytest.mark.parametrize("labels", ["even", "uneven"])
def test_the_gradient_of_the_segmenters_losses(labels, devices, share, segmenter):
    """On four devices of theirs ours is the same, with the auxiliary head at the full weight."""
    found = theirs("fcn_loss")
    wanted = found[labels].where(found[labels] >= 0, torch.tensor(IGNORED))
    ours = gradients(segmenter, found, wanted, devices)
    for role, gradient in zip(("main", "aux"), ours, strict=True):
        expected = found[f"{labels}_{role}_{devices}"]
        torch.testing.assert_close(gradient * (share / 0.25), expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("labels", ["even", "uneven"])
def test_on_one_process_each_labelled_pixel_of_the_batch_counts_the_same(labels, segmenter):
    """Theirs is a mean of each GPU's mean: a pixel counts less among many of the same GPU."""
    found = theirs("fcn_loss")
    wanted = found[labels].where(found[labels] >= 0, torch.tensor(IGNORED))
    pixels = (wanted != IGNORED).reshape(4, -1).sum(1)  # of each of four GPUs
    factor = (pixels / pixels.float().mean()).repeat_interleave(4)[:, None, None, None]
    ours, _ = gradients(segmenter, found, wanted, 1)
    assert bool((factor == 1).all()) == (labels == "even")
    torch.testing.assert_close(ours, found[f"{labels}_main_4"] * factor, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("devices", "share", "uses_statistics"), [("four", 1.0, True), ("one", 0.25, False)]
)
def test_a_step_of_the_segmenters_heads(devices, share, uses_statistics, data):
    """Their trainer's first weights, after one, two and four steps; the rate falls in between.

    MXNet's velocity keeps the learning rate that a gradient was applied with, torch's takes each
    step's own: the gap between the two is derived here, and nothing else is left.
    """
    found = theirs(f"fcn_step_{devices}_device" + ("s" if devices == "four" else ""))
    cfg = configured(data, "segmentation", "paper", "resnet18")
    roles = {"main": cfg.model.decode_head, "aux": cfg.model.auxiliary_head}
    with DefaultScope.overwrite_default_scope("mmseg"):
        heads = {
            role: MODELS.build(
                ConfigDict(
                    {
                        **part,
                        "in_channels": 8,
                        "num_classes": 4,
                        "dropout_ratio": 0.0,
                        "norm_cfg": {"type": "BN"},
                    }
                )
            )
            for role, part in roles.items()
        }
    settings = cfg.optim_wrapper.optimizer
    rates = [10 * float(rate) for rate in found["rates"]]  # both heads have ten times the rate
    for role, head in heads.items():
        (block,) = head.convs
        parts = {
            "conv": block.conv.weight,
            "gamma": block.norm.weight,
            "beta": block.norm.bias,
            "classifier": head.conv_seg.weight,
            "bias": head.conv_seg.bias,
        }
        with torch.no_grad():
            for name, part in parts.items():
                part.copy_(found[f"{role}_{name}"])
        head.train(not uses_statistics)
        velocity = {name: torch.zeros_like(part) for name, part in parts.items()}
        for step, rate in enumerate(rates, start=1):
            images = found["images"][(step - 1) % 2]
            labels = found["labels"][(step - 1) % 2]
            labels = labels.where(labels >= 0, torch.tensor(IGNORED))
            samples = [SegDataSample(gt_sem_seg=PixelData(data=one[None])) for one in labels]
            head.zero_grad()
            features = [images] * 4
            loss = head.loss_by_feat(head(features), samples)["loss_ce"]
            (share * loss).backward()
            with torch.no_grad():
                for name, part in parts.items():
                    gradient = part.grad + settings.weight_decay * part
                    velocity[name] = settings.momentum * velocity[name] + rate * gradient
                    part -= velocity[name]
            if step in (1, 2, 4):
                for name, part in parts.items():
                    expected = found[f"{role}_{name}_after_{step}"]
                    moved = float((expected - found[f"{role}_{name}"]).abs().max())
                    torch.testing.assert_close(part, expected, rtol=0, atol=1e-3 * moved + 3e-7)


def test_the_scale_of_a_training_image(data):
    """As often each short side, an integer of 260 to 1040; the long side to a pixel."""
    cfg = configured(data, "segmentation", "paper")
    with DefaultScope.overwrite_default_scope("mmseg"):
        resize = DATASETS.build(cfg.train_dataloader.dataset).dataset.pipeline.transforms[3]
    assert resize.resize.backend == "pillow"
    np.random.seed(0)
    for name, drawn in theirs("fcn_scale").items():
        width, height = map(int, name.split("x"))
        ours = np.array([resized_to(resize, width, height) for _ in range(len(drawn))])
        shorter = ours.min(axis=1)
        assert (shorter.min(), shorter.max()) == pytest.approx((260, 1040), abs=5)
        expected = np.sort(drawn.numpy().min(axis=1))
        share = np.searchsorted(expected, np.arange(260, 1041)) / len(drawn)
        own = np.searchsorted(np.sort(shorter), np.arange(260, 1041)) / len(drawn)
        assert np.abs(share - own).max() < 0.073, "Kolmogorov and Smirnov's bound at p = .01"
        long_of = {int(one.min()): int(one.max()) for one in drawn}
        both = [(int(one.max()), long_of[int(one.min())]) for one in ours if one.min() in long_of]
        assert len(both) > 500
        assert all(0 <= long - other <= 1 for long, other in both)


def resized_to(resize, width, height):
    """Width and height that the training's resizing would give an image."""
    return rescale_size((width, height), resize._random_scale())


def test_how_much_of_a_crop_is_black(data):
    """A picture of 683 x 512: 7.5 % of their crops; by the long side it would be 18 %."""
    cfg = configured(data, "segmentation", "paper")
    with DefaultScope.overwrite_default_scope("mmseg"):
        resize = DATASETS.build(cfg.train_dataloader.dataset).dataset.pipeline.transforms[3]
    width, height = NUMBERS["crop"]["image"]
    np.random.seed(0)
    shares = []
    for _ in range(400):
        seen = np.minimum(resized_to(resize, width, height), 480)
        shares.append(1 - seen.prod() / 480**2)
    assert np.mean(shares) == pytest.approx(NUMBERS["crop"]["black_share_of_a_crop"], abs=0.02)


class _Convolution(MultiScaleSegmentor):
    """A segmenter whose network is the one convolution of the fixture."""

    def encode_decode(self, inputs, batch_img_metas):
        return functional.conv2d(inputs, self.weight, self.bias, padding=1)


@pytest.mark.parametrize("shape", ["wide", "tall", "square"])
def test_the_scores_of_a_multi_scale_test(shape, data):
    found = theirs("multi_scale")
    init_default_scope("mmseg")
    part = configured(data, "segmentation", "paper", "resnet18").model
    part.update(type=_Convolution, auxiliary_head=None)
    part.decode_head.num_classes = 4
    part.test_cfg.update(base_size=52, crop_size=48)  # a tenth of theirs
    imagenet = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for name, values in zip(("mean", "std"), imagenet, strict=True):
        part.data_preprocessor[name] = [255 * value for value in values]
    model = MODELS.build(part).eval()
    model.weight, model.bias = found["weight"], found["bias"]
    with torch.no_grad():
        scores = model.inference(found[shape][None], [])[0]
    torch.testing.assert_close(scores, found[f"{shape}_scores"], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("scores", ["whole", "fractions"])
def test_the_metric_of_the_segmenter(scores):
    """Ours does not cut scores to whole numbers before it takes the largest; theirs did to v0.4."""
    found = theirs("miou")
    wanted = found["target"].where(found["target"] >= 0, torch.tensor(IGNORED))
    areas = {f"{name}": found[f"{scores}_{name}"] for name in ("intersection", "union")}
    expected = 100 * float((areas["intersection"] / areas["union"]).mean())
    ours = {}
    for cut in (False, True):
        best = (found[scores].floor() if cut else found[scores]).argmax(0)
        metric = MaskIoU()
        metric.dataset_meta = {"classes": tuple("abcd")}
        sample = SegDataSample(
            pred_sem_seg=PixelData(data=best[None]), gt_sem_seg=PixelData(data=wanted[None])
        )
        metric.process({}, [{**sample.to_dict(), "img_path": "one"}])
        ours[cut] = metric.evaluate(1)["mIoU"]
    assert ours[True] == pytest.approx(expected, abs=0.01)
    assert (ours[False] == pytest.approx(expected, abs=0.01)) == (scores == "whole")


def test_the_schedule_of_the_segmenter(runners):
    """Theirs of v0.4 to its end; that of v0.3 is an iteration longer and ends above 0."""
    reference = NUMBERS["poly"]
    total = reference["epochs"] * reference["iterations_an_epoch"]
    left = (1 - np.arange(total) / (total - 1)) ** 0.9
    np.testing.assert_allclose([*reference["v0.4"][:-1]], reference["base"] * left[1:], atol=1e-12)
    assert reference["v0.3"] == pytest.approx(
        reference["base"] * (1 - np.arange(total) / total) ** 0.9
    )
    rates = learning_rates(runners("segmentation", "paper")).min(axis=1)
    ours = (1 - np.arange(len(rates)) / (len(rates) - 1)) ** 0.9
    np.testing.assert_allclose(rates, reference["base"] * ours, atol=1e-9)


# --- the detector ------------------------------------------------------------------------------


def detections(detector, found, case, **settings):
    head = detector.roi_head
    boxes = found[f"{case}_rois"]
    logits = found[f"{case}_logits"].roll(-1, dims=1)  # their background comes first
    (kept,) = head.bbox_head.predict_by_feat(
        rois=(torch.cat([torch.zeros(len(boxes), 1), boxes], dim=1),),
        cls_scores=(logits,),
        bbox_preds=(found[f"{case}_deltas"],),
        batch_img_metas=[{"img_shape": (600, 800), "scale_factor": (1.0, 1.0)}],
        rcnn_test_cfg=ConfigDict({**head.test_cfg, **settings}),
    )
    return kept


def ranked(labels, scores, boxes):
    """Boxes by class, the best first, in an order that two implementations share."""
    order = np.lexsort((-scores.numpy().round(6), labels.numpy()))
    return labels[order], scores[order], boxes[order]


def test_the_boxes_that_are_kept_of_random_scores(detector):
    found = theirs("detections")
    kept = detections(detector, found, "inside")
    expected = ranked(*(found[f"inside_{name}"] for name in ("labels", "scores", "boxes")))
    ours = ranked(kept.labels, kept.scores, kept.bboxes)
    assert len(kept) == len(expected[0]) > 500, "no limit of an image"
    assert torch.equal(ours[0], expected[0])
    torch.testing.assert_close(ours[1], expected[1], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours[2], expected[2], rtol=1e-4, atol=0.01)
    assert 0.01 < float(kept.scores.min()) < 0.0105


@pytest.mark.parametrize("settings", [{"score_thr": 1e-4}, {"max_per_img": 100}])
def test_the_former_filter_keeps_other_boxes(settings, detector):
    found = theirs("detections")
    kept = detections(detector, found, "inside", **settings)
    assert len(kept) != len(found["inside_labels"])


def test_boxes_are_cut_to_the_image_before_nms_and_theirs_after(detector):
    """At an image's border a few boxes differ, for which the toolbox's order is kept."""
    found = theirs("detections")
    kept = detections(detector, found, "border")
    count = len(found["border_labels"])
    assert len(kept) != count
    assert abs(len(kept) - count) < 0.03 * count
    assert float(kept.bboxes.min()) == float(found["border_boxes"].min()) == 0


def test_the_anchors(detector):
    found = theirs("anchors")
    ours = detector.rpn_head.prior_generator.grid_priors([(3, 4)], device="cpu")[0]
    ours, expected = ours.reshape(12, 15, 4), found["anchors"].reshape(12, 15, 4)
    for place in range(12):
        assert {tuple(a.tolist()) for a in ours[place]} == {
            tuple(a.tolist()) for a in expected[place]
        }
    assert torch.equal(ours, expected), "in the order of their outputs' channels too"


def rpn_targets(head, found):
    height, width = (int(side) for side in found["image"])
    metas = [{"img_shape": (height, width), "pad_shape": (height, width)}]
    places = [(38, 50)]
    truth = InstanceData(bboxes=found["objects"], labels=torch.zeros(4, dtype=torch.long))
    anchors, flags = head.get_anchors(places, metas, device="cpu")
    labels, weights, targets, _, _ = head.get_targets(anchors, flags, [truth], metas)
    labels, weights = labels[0][0], weights[0][0]
    return torch.where(weights > 0, 1 - labels, -1), targets[0][0]


def test_what_the_rpn_is_to_say_of_each_anchor(detector, monkeypatch):
    """All anchors, none drawn: 1 is an object, 0 is none, -1 is not asked."""
    found = theirs("anchors")
    monkeypatch.setattr(detector.rpn_head.sampler, "num", 100_000)
    labels, targets = rpn_targets(detector.rpn_head, found)
    assert torch.equal(labels, found["labels"])
    positive = found["positive"]
    assert len(positive) > 20
    torch.testing.assert_close(targets[positive], found["targets"], rtol=1e-4, atol=1e-5)


def test_how_many_anchors_are_drawn(detector):
    found = theirs("anchors")
    labels, _ = rpn_targets(detector.rpn_head, found)
    assert [int((labels == 1).sum()), int((labels == 0).sum())] in found["sampled"].tolist()


def test_the_proposals_of_a_random_map(detector):
    found = theirs("proposals")
    height, width = (int(side) for side in found["map"])
    head = detector.rpn_head
    scores = torch.logit(found["scores"].double()).float()
    (kept,) = head.predict_by_feat(
        [scores.reshape(height, width, 15).permute(2, 0, 1)[None]],
        [found["deltas"].reshape(height, width, 60).permute(2, 0, 1)[None]],
        batch_img_metas=[{"img_shape": (16 * height, 16 * width)}],
        cfg=detector.test_cfg.rpn,
    )
    assert len(kept) == len(found["kept_boxes"]) == 300
    torch.testing.assert_close(kept.scores, found["kept_scores"], rtol=1e-3, atol=1e-3)
    near = box_iou(kept.bboxes, found["kept_boxes"]).amax(dim=1)
    assert float((near > 0.999).float().mean()) == 1.0


def test_what_the_roi_head_is_to_say(detector):
    found = theirs("roi_targets")
    head = detector.roi_head
    truth = InstanceData(bboxes=found["objects"], labels=found["labels"])
    rois = InstanceData(priors=found["rois"])
    assigned = head.bbox_assigner.assign(rois, truth, None)
    classes = torch.where(assigned.gt_inds > 0, assigned.labels + 1, 0)
    assert torch.equal(classes, found["classes"])
    positive = assigned.gt_inds > 0
    matched = truth.bboxes[assigned.gt_inds[positive] - 1]
    targets = head.bbox_head.bbox_coder.encode(found["rois"][positive], matched)
    torch.testing.assert_close(targets, found["targets"][positive], rtol=1e-4, atol=1e-5)


def test_the_authors_sampler_counts_some_negatives_twice(detector):
    """Where an image has fewer than 32 positives; ours never does."""
    found = theirs("roi_targets")["sampled"]
    for positive, negative, twice in found.tolist():
        assert positive + negative == 128
        assert twice == max(0, 32 - positive)
    sampler = detector.roi_head.bbox_sampler
    assert (sampler.num, sampler.pos_fraction) == (128, 0.25)


def test_two_steps_of_the_detectors_last_layers(data):
    """Their training loop: losses, clipped gradients, decay, and a rate that falls in between."""
    found = theirs("detector_step")
    cfg = configured(data, "detection", "paper", "resnet18")
    cfg.model.rpn_head.feat_channels = 6
    cfg.model.roi_head.bbox_head.update(in_channels=5, num_classes=20, with_avg_pool=False)
    cfg.model.roi_head.bbox_head.roi_feat_size = 1
    with DefaultScope.overwrite_default_scope("mmdet"):
        rpn = MODELS.build({**cfg.model.rpn_head, "train_cfg": cfg.model.train_cfg.rpn})
        roi = MODELS.build(cfg.model.roi_head.bbox_head)
    parts = {
        "rpn_score": rpn.rpn_cls.weight,
        "rpn_box": rpn.rpn_reg.weight,
        "class": roi.fc_cls.weight,
        "class_bias": roi.fc_cls.bias,
        "box": roi.fc_reg.weight,
        "box_bias": roi.fc_reg.bias,
    }
    to_theirs = {"class": lambda v: v.roll(1, 0), "class_bias": lambda v: v.roll(1, 0)}
    with torch.no_grad():
        for layer in (rpn.rpn_cls, rpn.rpn_reg):
            layer.bias.zero_()
        for name, part in parts.items():
            part.copy_(found[name].roll(-1, 0) if name in to_theirs else found[name])
    settings = cfg.optim_wrapper.optimizer
    velocity = {name: torch.zeros_like(part) for name, part in parts.items()}
    for step, rate in enumerate(found["rates"].tolist()):
        losses = [
            *rpn_losses(rpn, found, found["maps"][step]),
            *roi_losses(roi, cfg, found, found["features"][step]),
        ]
        for part in parts.values():
            part.grad = None
        sum(losses).backward()
        nn.utils.clip_grad_value_(parts.values(), cfg.optim_wrapper.clip_grad.clip_value)
        with torch.no_grad():
            for name, part in parts.items():
                gradient = part.grad + settings.weight_decay * part
                velocity[name] = settings.momentum * velocity[name] + rate * gradient
                part -= velocity[name]
        for name, part in parts.items():
            ours = to_theirs.get(name, lambda v: v)(part.detach())
            expected = found[f"{name}_after_{step + 1}"]
            moved = float((expected - found[name]).abs().max())
            torch.testing.assert_close(ours, expected, rtol=0, atol=2e-3 * moved, msg=name)


def rpn_losses(head, found, maps):
    images = len(maps)
    metas = [{"img_shape": (128, 160), "pad_shape": (128, 160)}] * images
    truth = [InstanceData(bboxes=found["objects"], labels=torch.zeros(2, dtype=torch.long))]
    losses = head.loss_by_feat([head.rpn_cls(maps)], [head.rpn_reg(maps)], truth * images, metas)
    return losses["loss_rpn_cls"][0], losses["loss_rpn_bbox"][0]


def roi_losses(head, cfg, found, features):
    images, count, _ = features.shape
    objects, rois = found["objects"], found["rois"]
    overlaps = box_iou(rois, objects)
    positive = overlaps.amax(1) >= cfg.model.train_cfg.rcnn.assigner.pos_iou_thr
    matched = overlaps.argmax(1)
    labels = torch.where(positive, found["labels"][matched], 20)
    targets = torch.zeros(count, 4)
    targets[positive] = head.bbox_coder.encode(rois[positive], objects[matched[positive]])
    weights = positive.float()[:, None].expand(count, 4)
    flat = features.flatten(0, 1)
    losses = head.loss(
        head.fc_cls(flat),
        head.fc_reg(flat),
        torch.zeros(images * count, 5),
        labels.repeat(images),
        torch.ones(images * count),
        targets.repeat(images, 1),
        weights.repeat(images, 1),
    )
    return losses["loss_cls"], losses["loss_bbox"]


def test_the_schedule_of_the_detector(runners):
    reference = NUMBERS["detector"]
    rates = learning_rates(runners("detection", "paper"))[:, 0]
    by_epoch = rates.reshape(reference["epochs"], -1)[:, 0]
    np.testing.assert_allclose(by_epoch, reference["rates"], rtol=1e-9)
    assert reference["lr_warmup"] == -1, "no warmup in the code"


def test_the_velocity_of_a_rate_that_falls():
    """Theirs holds the rate that a gradient was applied with; torch's takes the new one at once.

    To the drop both agree. Then what is left in their velocity moves the weights with the former
    rate, and later steps do not take that back.
    """
    found = theirs("velocity")
    drop, momentum, decay = int(found["drop"]), 0.9, 5e-4
    weight = nn.Parameter(found["start"].clone())
    optimiser = torch.optim.SGD([weight], lr=0.001, momentum=momentum, weight_decay=decay)
    at_drop = 0.0
    for step, gradient in enumerate(found["gradients"]):
        if step == drop:
            at_drop = optimiser.state[weight]["momentum_buffer"].clone()
            optimiser.param_groups[0]["lr"] *= 0.1
        weight.grad = gradient.clamp(-5, 5)
        optimiser.step()
        gap = weight.detach() - found["path"][step]
        if step < drop:
            torch.testing.assert_close(gap, torch.zeros(3), rtol=0, atol=1e-6)
    after = len(found["gradients"]) - drop
    left = 0.0009 * at_drop * sum(momentum**step for step in range(1, after + 1))
    torch.testing.assert_close(gap, left, rtol=0.01, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "layer", "std"),
    [
        ("rpn_conv", "rpn_head.rpn_conv", 0.01),
        ("rpn_score", "rpn_head.rpn_cls", 0.01),
        ("rpn_box", "rpn_head.rpn_reg", 0.01),
        ("class", "roi_head.bbox_head.fc_cls", 0.01),
        ("box", "roi_head.bbox_head.fc_reg", 0.001),
        ("fcn_conv", "decode_head.convs.0.conv", 0.07 / 3**0.5),
        ("fcn_classifier", "auxiliary_head.conv_seg", 0.07 / 3**0.5),
    ],
)
def test_the_first_weights_of_new_layers(name, layer, std, data):
    reference = NUMBERS["first_weights"][name]
    assert reference["std"] == pytest.approx(std, rel=0.05)
    task = "segmentation" if name.startswith("fcn") else "detection"
    cfg = configured(data, task, "paper", "resnet18")
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    model.init_weights()
    module = model.get_submodule(layer)
    weight = module.weight.detach()
    assert float(weight.std()) == pytest.approx(std, rel=0.05)
    if task == "segmentation":  # uniform, and so bounded
        assert max(float(weight.abs().max()), reference["largest"], -reference["smallest"]) <= 0.07
    assert module.bias is None or not module.bias.any()
