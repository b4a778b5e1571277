"""Every number of both transfer protocols, read off what is built from them.

The specification is docs/protocols.md. Objects are asked, never the config's text: layers,
samplers, optimisers, schedules, data sets, losses.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, METRICS, MODELS, DefaultScope
from mmengine.structures import InstanceData
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.ops import box_iou

import transfer.openmmlab  # noqa: F401
from tests.support.protocol_objects import (
    IMAGES,
    SIZES,
    configured,
    learning_rates,
    optimised,
    ready_to_train,
)
from tests.support.toolbox_names import toolbox_names
from transfer.protocols import compose, protocols

# --- the authors' detector ---------------------------------------------------------------------


def test_anchors(detector):
    generator = detector.rpn_head.prior_generator
    assert generator.num_base_priors == [15]
    assert generator.strides == [(16, 16)]
    anchors = {tuple(int(edge) for edge in box) for box in generator.base_anchors[0]}
    # Nine of them are those that py-faster-rcnn's generate_anchors.py lists (there 1-based).
    assert anchors >= {
        *((-84, -40, 99, 55), (-176, -88, 191, 103), (-360, -184, 375, 199)),
        *((-56, -56, 71, 71), (-120, -120, 135, 135), (-248, -248, 263, 263)),
        *((-36, -80, 51, 95), (-80, -168, 95, 183), (-168, -344, 183, 359)),
    }
    sides = {(x2 - x1 + 1, y2 - y1 + 1) for x1, y1, x2, y2 in anchors}
    shapes = [(23, 12), (16, 16), (11, 22)]  # of area 256, height to width 1/2, 1, 2, rounded
    assert sides == {(w * s, h * s) for w, h in shapes for s in (2, 4, 8, 16, 32)}


def test_map_and_channels(detector):
    with torch.no_grad():
        (features,) = detector.extract_feat(torch.zeros(1, 3, 64, 96))
        scores, deltas = detector.rpn_head([features])
    assert features.shape == (1, 1024, 4, 6)
    assert detector.rpn_head.rpn_conv.weight.shape == (1024, 1024, 3, 3)
    assert scores[0].shape == (1, 15, 4, 6)
    assert deltas[0].shape == (1, 60, 4, 6)
    assert not detector.with_neck


def test_roi_head_shapes(detector):
    head = detector.roi_head
    (align,) = head.bbox_roi_extractor.roi_layers
    assert align.output_size == (14, 14)
    assert align.sampling_ratio == 2
    assert align.aligned is False
    assert align.spatial_scale == 1 / 16
    assert align.pool_mode == "avg"
    with torch.no_grad():
        scores, deltas = head.bbox_head(head.shared_head(torch.zeros(2, 1024, 14, 14)))
    assert scores.shape == (2, 21)
    assert deltas.shape == (2, 80)
    assert tuple(head.bbox_head.bbox_coder.stds) == (0.1, 0.1, 0.2, 0.2)
    assert not any(head.bbox_head.bbox_coder.means)
    assert tuple(detector.rpn_head.bbox_coder.stds) == (1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("training", "before", "after"),
    [(True, 12000, 2000), (False, 6000, 300)],
    ids=["train", "test"],
)
def test_proposals(detector, training, before, after):
    settings = detector.train_cfg.rpn_proposal if training else detector.test_cfg.rpn
    assert (settings.nms_pre, settings.max_per_img) == (before, after)
    kept = proposals(detector.rpn_head, settings, height=38, width=63)
    assert len(kept) == after
    sides = kept.bboxes[:, 2:] - kept.bboxes[:, :2]
    assert sides.min() > 16
    overlaps = box_iou(kept.bboxes[:600], kept.bboxes[:600]).fill_diagonal_(0)
    assert 0.6 < overlaps.max() <= 0.7


def proposals(head, settings, height, width):
    """Of a random map, whose anchors are made small enough for thousands to survive."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(1, 15, height, width, generator=generator)
    deltas = torch.randn(1, 60, height, width, generator=generator)
    metas = [{"img_shape": (height * 16, width * 16)}]
    (kept,) = head.predict_by_feat([scores], [deltas], batch_img_metas=metas, cfg=settings)
    return kept


def test_rpn_sampling(detector):
    """256 anchors, at most half of them positive, none that crosses the image's border."""
    head = detector.rpn_head
    assert (head.assigner.pos_iou_thr, head.assigner.neg_iou_thr) == (0.7, 0.3)
    assert (head.assigner.min_pos_iou, head.assigner.match_low_quality) == (0.3, True)
    assert (head.sampler.num, head.sampler.pos_fraction) == (256, 0.5)
    metas = [{"img_shape": (600, 900), "pad_shape": (600, 900)}]
    anchors, flags = head.get_anchors([(38, 57)], metas, device="cpu")
    boxes = torch.tensor([[100.0, 100.0, 400.0, 400.0], [0.0, 0.0, 500.0, 500.0]])
    truth = InstanceData(bboxes=boxes, labels=torch.zeros(2, dtype=torch.long))
    labels, weights, _, box_weights, count = head.get_targets(anchors, flags, [truth], metas)
    used = anchors[0][0][weights[0][0] > 0]
    assert len(used) == count == 256
    assert (used[:, :2] >= 0).all()
    assert (used[:, 2:] < torch.tensor([900, 600])).all()
    positive = labels[0][0] == 0
    assert 0 < int(positive.sum()) <= 128
    assert torch.equal(positive, box_weights[0][0][:, 0] > 0)
    overlaps = box_iou(anchors[0][0][positive], boxes).amax(1)
    assert overlaps.min() >= 0.3


def test_roi_sampling(detector):
    """128 RoIs, a quarter of them positive from an IoU of .5 on, the objects among them."""
    head = detector.roi_head
    draws = torch.Generator().manual_seed(0)
    box = torch.tensor([[100.0, 100.0, 300.0, 300.0]])
    near = box + 40 * torch.randn(500, 4, generator=draws)
    far = torch.tensor([400.0, 400.0, 500.0, 500.0]) + 5 * torch.randn(500, 4, generator=draws)
    candidates = InstanceData(priors=torch.cat([near, far]))
    truth = InstanceData(bboxes=box, labels=torch.tensor([11]))
    assigned = head.bbox_assigner.assign(candidates, truth, None)
    sampled = head.bbox_sampler.sample(assigned, candidates, truth)
    assert len(sampled.pos_priors) == 32
    assert len(sampled.neg_priors) == 96
    assert box_iou(sampled.pos_priors, box).min() >= 0.5
    assert box_iou(sampled.neg_priors, box).max() < 0.5
    assert head.bbox_sampler.add_gt_as_proposals


def test_detections(detector):
    """NMS at .3 within a class, no limit of an image, scores over .01."""
    head = detector.roi_head
    draws = torch.Generator().manual_seed(0)
    corners = torch.rand(300, 2, generator=draws) * 400
    rois = torch.cat([torch.zeros(300, 1), corners, corners + 100], dim=1)
    scores = 4 * torch.randn(300, 21, generator=draws)
    (found,) = head.bbox_head.predict_by_feat(
        rois=(rois,),
        cls_scores=(scores,),
        bbox_preds=(torch.zeros(300, 80),),
        batch_img_metas=[{"img_shape": (600, 600), "scale_factor": (1.0, 1.0)}],
        rcnn_test_cfg=head.test_cfg,
    )
    assert len(found) > 500
    for label in found.labels.unique():
        boxes = found.bboxes[found.labels == label]
        assert box_iou(boxes, boxes).fill_diagonal_(0).max() <= 0.3
    assert head.test_cfg.score_thr == 0.01
    assert head.test_cfg.nms.iou_threshold == 0.3
    assert detector.test_cfg.rpn.max_per_img < 400, "their NMS looks at 400 boxes of a class"
    nearly_background = torch.full((300, 21), -12.0)
    nearly_background[:, 20] = 0.0
    nearly_background[0, 3] = math.log(0.012)
    nearly_background[1, 4] = math.log(0.008)
    (found,) = head.bbox_head.predict_by_feat(
        rois=(rois,),
        cls_scores=(nearly_background,),
        bbox_preds=(torch.zeros(300, 80),),
        batch_img_metas=[{"img_shape": (600, 600), "scale_factor": (1.0, 1.0)}],
        rcnn_test_cfg=head.test_cfg,
    )
    assert found.labels.tolist() == [3]


def test_only_convolutions_of_later_stages_are_trained(detector):
    """GluonCV's pattern: dense layers, the RPN, the convolutions of stages 2 to 4."""
    owners = {
        f"{name}.{parameter}": (name, type(module), p.requires_grad)
        for name, module in detector.named_modules()
        for parameter, p in module.named_parameters(recurse=False)
    }
    for full, (name, kind, trained) in owners.items():
        new = name.startswith(("rpn_head.", "roi_head.bbox_head."))
        late = any(f"layer{i}" in name for i in (2, 3, 4)) and kind is nn.Conv2d
        assert trained == (new or late), full
    assert any("layer4" in n and trained for n, _, trained in owners.values())
    norms = [module for module in detector.modules() if isinstance(module, _BatchNorm)]
    assert len(norms) == 53
    assert not any(norm.training for norm in norms)
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())


def test_losses_of_the_detector(detector):
    rpn, roi = detector.rpn_head, detector.roi_head.bbox_head
    for head, beta in ((rpn, 1 / 9), (roi, 1.0)):
        for error in (0.05, 0.3, 2.0):
            expected = error**2 / (2 * beta) if error < beta else error - beta / 2
            loss = head.loss_bbox(torch.tensor([[error]]), torch.zeros(1, 1))
            assert float(loss) == pytest.approx(expected, rel=1e-5)
        assert head.loss_bbox.loss_weight == head.loss_cls.loss_weight == 1.0
    logit = torch.tensor([[0.7], [-0.2]])
    label = torch.tensor([0, 1])  # MMDetection's background comes last: 1 is background
    expected = nn.functional.binary_cross_entropy_with_logits(logit[:, 0], 1.0 - label)
    assert float(rpn.loss_cls(logit, label)) == pytest.approx(float(expected))
    logits = torch.randn(3, 21, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([3, 20, 7])
    expected = nn.functional.cross_entropy(logits, labels)
    assert float(roi.loss_cls(logits, labels)) == pytest.approx(float(expected))


def test_rpn_losses_are_divided_by_the_samples(detector):
    """Both by 256, positive or not, as GluonCV's training script divides them."""
    head = detector.rpn_head
    draws = torch.Generator().manual_seed(0)
    scores = torch.randn(1, 15, 38, 57, generator=draws)
    deltas = torch.randn(1, 60, 38, 57, generator=draws) / 4
    metas = [{"img_shape": (600, 900), "pad_shape": (600, 900)}]
    boxes = torch.tensor([[100.0, 100.0, 400.0, 400.0]])
    truth = [InstanceData(bboxes=boxes, labels=torch.tensor([0]))]  # an object, to the RPN
    torch.manual_seed(3)
    found = head.loss_by_feat([scores], [deltas], truth, metas)
    torch.manual_seed(3)  # the same anchors are drawn
    everything = head.get_anchors([(38, 57)], metas, device="cpu")
    labels, weights, targets, _, _ = head.get_targets(*everything, truth, metas)
    used, positive = weights[0][0] > 0, labels[0][0] == 0
    logit = scores[0].permute(1, 2, 0).flatten()
    crossed = nn.functional.binary_cross_entropy_with_logits(
        logit[used], positive[used].float(), reduction="sum"
    )
    delta = deltas[0].permute(1, 2, 0).reshape(-1, 4)
    off = nn.functional.smooth_l1_loss(
        delta[positive], targets[0][0][positive], reduction="sum", beta=1 / 9
    )
    assert positive.any()
    assert float(found["loss_rpn_cls"][0]) == pytest.approx(float(crossed) / 256, rel=1e-4)
    assert float(found["loss_rpn_bbox"][0]) == pytest.approx(float(off) / 256, rel=1e-4)


def test_roi_losses_are_divided_by_the_samples(detector):
    """Both by 128, and the boxes' loss is that of the object's own class alone."""
    head = detector.roi_head.bbox_head
    draws = torch.Generator().manual_seed(0)
    scores, deltas = torch.randn(128, 21, generator=draws), torch.randn(128, 80, generator=draws)
    labels = torch.full((128,), 20)
    labels[:32] = torch.randint(0, 20, (32,), generator=draws)
    targets, weights = torch.zeros(128, 4), torch.zeros(128, 4)
    targets[:32], weights[:32] = torch.randn(32, 4, generator=draws), 1.0
    rois = torch.zeros(128, 5)
    found = head.loss(scores, deltas, rois, labels, torch.ones(128), targets, weights)
    own = deltas.reshape(128, 20, 4)[torch.arange(32), labels[:32]]
    off = nn.functional.smooth_l1_loss(own, targets[:32], reduction="sum")
    crossed = nn.functional.cross_entropy(scores, labels, reduction="sum")
    assert float(found["loss_bbox"]) == pytest.approx(float(off) / 128, rel=1e-5)
    assert float(found["loss_cls"]) == pytest.approx(float(crossed) / 128, rel=1e-5)


def test_optimiser_and_schedule_of_the_detector(runners):
    runner = runners("detection", "paper")
    assert set(optimised(runner).values()) == {(0.001, 5e-4, 0.9)}
    assert runner.train_loop.max_epochs == 20
    assert runner.train_dataloader.batch_sampler.batch_size == 4
    rates = learning_rates(runner)
    assert rates.shape[0] == 20 * (IMAGES // 4)
    by_epoch = rates.reshape(20, IMAGES // 4, -1)
    np.testing.assert_allclose(by_epoch[:14], 0.001)
    np.testing.assert_allclose(by_epoch[14:], 0.0001)


@pytest.mark.parametrize("batch", [1, 8])
def test_the_detectors_rate_is_absolute(batch, data, tmp_path):
    override = (("train_dataloader.batch_size", batch),)
    cfg = configured(data, "detection", "paper", "resnet18", overrides=override)
    runner = ready_to_train(cfg, tmp_path)
    assert runner.train_dataloader.batch_sampler.batch_size == batch
    assert {rate for rate, _, _ in optimised(runner).values()} == {0.001}


def test_the_long_variant(data, tmp_path):
    """The paper's text: warmup and a long schedule; all else as in the authors' code."""
    runner = ready_to_train(configured(data, "detection", "paper-long", "resnet18"), tmp_path)
    rates = learning_rates(runner)[:, 0]
    epoch = IMAGES // 4
    assert len(rates) == 40 * epoch
    assert rates[0] == pytest.approx(0.001 / 3)
    assert (np.diff(rates[: 28 * epoch]) > 0).all(), "still warming up on so few images"
    plain = configured(data, "detection", "paper", "resnet18")
    long = configured(data, "detection", "paper-long", "resnet18")
    assert plain.model == long.model
    assert plain.optim_wrapper == long.optim_wrapper
    assert plain.train_dataloader == long.train_dataloader


def test_gradients_are_clipped_one_by_one(runners):
    wrapper = runners("detection", "paper").optim_wrapper
    parameter = wrapper.optimizer.param_groups[0]["params"][-1]
    parameter.grad = torch.full_like(parameter, 7.0)
    parameter.grad.view(-1)[0] = -0.5
    wrapper._clip_grad()
    assert parameter.grad.view(-1)[:3].tolist() == [-0.5, 5.0, 5.0]
    parameter.grad = None


@pytest.mark.parametrize("protocol", ["paper", "openmmlab"])
def test_difficult_and_small_objects(protocol, data):
    """The authors train on every object; the toolbox ignores difficult ones and those under 32."""
    cfg = configured(data, "detection", protocol)
    with DefaultScope.overwrite_default_scope("mmdet"):
        train = DATASETS.build(cfg.train_dataloader.dataset)
        test = DATASETS.build(cfg.val_dataloader.dataset)
    ignored = [thing["ignore_flag"] for thing in train.get_data_info(0)["instances"]]
    assert ignored == ([0, 0, 0] if protocol == "paper" else [0, 1, 1])
    ignored = [thing["ignore_flag"] for thing in test.get_data_info(0)["instances"]]
    assert ignored == [0, 1, 0], "the devkit ignores difficult objects, small ones count"
    assert compose.smallest_box(cfg) == (0 if protocol == "paper" else 32)
    evaluator = METRICS.build(cfg.val_evaluator)
    assert evaluator.form == "11points"


@pytest.mark.parametrize("protocol", ["paper", "openmmlab"])
def test_input_of_the_detector(protocol, data):
    cfg = configured(data, "detection", protocol)
    with DefaultScope.overwrite_default_scope("mmdet"):
        train = DATASETS.build(cfg.train_dataloader.dataset)
        test = DATASETS.build(cfg.val_dataloader.dataset)
    expected = [(600, 900), (900, 600), (167, 1000), (600, 800)]  # height, width
    flips = []
    for index in range(4):
        assert tuple(test[index]["inputs"].shape) == (3, *expected[index])
    for key in range(48):
        sample = train[key]["data_samples"]
        assert sample.img_shape in expected
        flips.append(sample.flip)
    assert 0.3 < np.mean(flips) < 0.7


@pytest.fixture(scope="module")
def loaded(data, tmp_path_factory):
    """A classifier with weights of its own, and the C4 detector that is made of them."""
    torch.manual_seed(0)
    classifier = timm.create_model("resnet26d", zero_init_last=False).eval()
    for norm in classifier.modules():
        if isinstance(norm, _BatchNorm):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 2)
            norm.weight.data.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("weights") / "resnet26d.pth"
    torch.save(classifier.state_dict(), path)
    few = (
        ("model.train_cfg.rcnn.sampler.num", 16),
        ("model.train_cfg.rpn_proposal.max_per_img", 50),
    )
    cfg = configured(data, "detection", "paper", "resnet26d", str(path), few)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(cfg.model)
    model.init_weights()
    return classifier, model


def test_the_detector_starts_with_the_classifiers_weights(loaded):
    classifier, model = loaded
    state = classifier.state_dict()
    stage = model.roi_head.shared_head.state_dict()
    assert stage.keys() == {name for name in state if name.startswith("layer4.")}
    for name, tensor in stage.items():
        assert torch.equal(tensor, state[name]), name
    trunk = {k: v for k, v in state.items() if not k.startswith(("layer4.", "fc."))}
    own = {key.replace("network.", ""): v for key, v in model.backbone.state_dict().items()}
    plain = {name.replace(".", "_"): tensor for name, tensor in trunk.items()}
    assert {name.replace(".", "_") for name in own} == plain.keys()
    for name, tensor in own.items():
        assert torch.equal(tensor, plain[name.replace(".", "_")]), name


def test_gradients_reach_layer_2_and_stop_there(loaded):
    _, model = loaded
    model.train()
    image = torch.randint(0, 256, (3, 160, 192), dtype=torch.uint8)
    sample = _det_sample((160, 192), [[20.0, 20.0, 120.0, 130.0]])
    packed = model.data_preprocessor({"inputs": [image], "data_samples": [sample]}, training=True)
    losses = model.loss(packed["inputs"], packed["data_samples"])
    sum(sum(v) if isinstance(v, list) else v for k, v in losses.items() if "loss" in k).backward()
    reached = {"stem": 0, "layer1": 0, "layer2": 0, "layer3": 0, "layer4": 0}
    for name, parameter in model.named_parameters():
        if "backbone" not in name and "shared_head" not in name:
            continue
        stage = next((s for s in reached if s in name), "stem")
        reached[stage] += parameter.grad is not None and bool(parameter.grad.any())
    convolutions = {"stem": 0, "layer1": 0, "layer2": 7, "layer3": 7, "layer4": 7}
    assert reached == convolutions
    model.zero_grad(set_to_none=True)


def _det_sample(shape, boxes):
    from mmdet.structures import DetDataSample

    metas = {"img_shape": shape, "ori_shape": shape, "scale_factor": (1.0, 1.0)}
    sample = DetDataSample(metainfo=metas)
    labels = torch.full((len(boxes),), 11)
    sample.gt_instances = InstanceData(bboxes=torch.tensor(boxes), labels=labels)
    sample.ignored_instances = InstanceData(
        bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
    )
    return sample


# --- the authors' segmenter --------------------------------------------------------------------


def test_segmentation_heads(segmenter):
    heads = ((segmenter.decode_head, 3, 2048), (segmenter.auxiliary_head, 2, 1024))
    for head, index, channels in heads:
        assert head.in_index == index
        (block,) = head.convs
        assert block.conv.weight.shape == (channels // 4, channels, 3, 3)
        assert block.conv.bias is None
        assert block.norm.num_features == channels // 4
        assert isinstance(block.norm, _BatchNorm)
        assert isinstance(block.activate, nn.ReLU)
        assert block.order == ("conv", "norm", "act")
        assert type(head.dropout) is nn.Dropout
        assert head.dropout.p == 0.1
        assert head.conv_seg.weight.shape == (150, channels // 4, 1, 1)
        assert not hasattr(head, "conv_cat")
        assert head.loss_decode.loss_weight == 0.25


def test_output_stride_and_dilations(segmenter):
    network = segmenter.backbone.network
    with torch.no_grad():
        maps = segmenter.backbone.eval()(torch.zeros(1, 3, 64, 64))
    segmenter.train()
    assert [m.shape[-1] for m in maps] == [16, 8, 8, 8]
    dilations = {i: [b.conv2.dilation[0] for b in network[f"layer{i}"]] for i in (1, 2, 3, 4)}
    assert dilations == {1: [1] * 3, 2: [1] * 4, 3: [1, 2, 2, 2, 2, 2], 4: [2, 4, 4]}
    assert all(block.conv2.stride == (1, 1) for i in (3, 4) for block in network[f"layer{i}"])


def test_dilated_d_blocks_have_no_pool(data):
    cfg = configured(data, "segmentation", "paper", "resnet50d")
    with DefaultScope.overwrite_default_scope("mmseg"):
        network = MODELS.build(cfg.model).backbone.network
    pools = {
        i: [m for m in network[f"layer{i}"].modules() if isinstance(m, nn.AvgPool2d)]
        for i in (1, 2, 3, 4)
    }
    assert [len(pools[i]) for i in (1, 2, 3, 4)] == [0, 1, 0, 0]


def test_nothing_of_the_segmenter_is_frozen(segmenter):
    assert all(p.requires_grad for p in segmenter.parameters())
    norms = [m for m in segmenter.modules() if isinstance(m, _BatchNorm)]
    assert len(norms) == 53 + 2
    assert all(norm.training for norm in norms)
    assert not any(isinstance(norm, nn.SyncBatchNorm) for norm in norms), "on one device"


def test_on_several_devices_every_norm_is_synchronised(data):
    cfg = configured(data, "segmentation", "paper", "resnet18")
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        with DefaultScope.overwrite_default_scope("mmseg"):
            model = MODELS.build(cfg.model)
    finally:
        torch.distributed.destroy_process_group()
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    assert len(norms) == 20 + 2
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)


@pytest.mark.parametrize("protocol", ["paper", "openmmlab"])
def test_what_the_segmentation_loss_is_averaged_over(protocol, runners):
    """Labelled pixels in the authors' code, all pixels in the toolbox."""
    model = runners("segmentation", protocol).model
    draws = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 150, 8, 8, generator=draws)
    labels = torch.randint(0, 150, (2, 8, 8), generator=draws)
    labels[:, :3] = 255
    summed = nn.functional.cross_entropy(logits, labels, ignore_index=255, reduction="sum")
    pixels = (labels != 255).sum() if protocol == "paper" else labels.numel()
    weights = {"paper": (0.25, 0.25), "openmmlab": (1.0, 0.4)}[protocol]
    for head, weight in zip((model.decode_head, model.auxiliary_head), weights, strict=True):
        loss = head.loss_decode(logits, labels, ignore_index=head.ignore_index)
        torch.testing.assert_close(loss, weight * summed / pixels)


def test_optimiser_and_schedule_of_the_segmenter(runners):
    runner = runners("segmentation", "paper")
    settings = optimised(runner)
    for name, (rate, decay, momentum) in settings.items():
        assert rate == pytest.approx(0.01 if name.startswith("backbone.") else 0.1), name
        assert (decay, momentum) == (1e-4, 0.9), name
    assert runner.train_loop.max_epochs == 120
    assert runner.train_dataloader.batch_sampler.batch_size == 16
    rates = learning_rates(runner)
    total = 120 * (IMAGES // 16)
    assert len(rates) == total
    left = (1 - np.arange(total) / (total - 1)) ** 0.9
    np.testing.assert_allclose(rates.min(axis=1), 0.01 * left, rtol=1e-6)
    np.testing.assert_allclose(rates.max(axis=1), 0.1 * left, rtol=1e-6)


def test_the_segmenters_rate_follows_the_batch(data, tmp_path):
    override = (("train_dataloader.batch_size", 4),)
    cfg = configured(data, "segmentation", "paper", "resnet18", overrides=override)
    rates = {rate for rate, _, _ in optimised(ready_to_train(cfg, tmp_path)).values()}
    assert sorted(rates) == pytest.approx([0.0025, 0.025])


def test_test_scales(segmenter):
    assert type(segmenter).__name__ == "MultiScaleSegmentor"
    settings = segmenter.test_cfg
    assert tuple(settings.scales) == (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    assert (settings.base_size, settings.crop_size) == (520, 480)
    assert list(segmenter._starts(910)) == [0, 320, 640]
    assert segmenter.align_corners is True


def test_input_of_the_segmenter(data):
    """Crops of 480, whatever the image's size; black and "ignore" where it is smaller."""
    cfg = configured(data, "segmentation", "paper")
    with DefaultScope.overwrite_default_scope("mmseg"):
        train = DATASETS.build(cfg.train_dataloader.dataset)
        test = DATASETS.build(cfg.val_dataloader.dataset)
    smaller = 0
    for index in range(4):
        assert tuple(test[index]["inputs"].shape) == (3, *SIZES[index][::-1])
        for epoch in range(3):
            item = train[epoch * len(train) + index]
            image, mask = item["inputs"], item["data_samples"].gt_sem_seg.data
            assert tuple(image.shape) == (3, 480, 480)
            assert tuple(mask.shape) == (1, 480, 480)
            filled = (mask[0] == 255).all(dim=1).nonzero()[4:, 0]  # the blur reaches a few rows
            assert (image[:, filled] < 4).all()
            smaller += len(filled) > 0
    assert smaller, "some are less high than a crop"
    steps = train.dataset.pipeline.transforms
    names = [type(step).__name__ for step in steps]
    assert names[2:-1] == ["RandomFlip", "RandomResize", "Pad", "RandomCrop", "RandomGaussianBlur"]
    assert steps[2].prob == [0.5] or steps[2].prob == 0.5
    assert steps[6].prob == 0.5


def test_scales_that_are_drawn(data):
    """The short side is an integer from 260 to 1040, whichever side that is."""
    cfg = configured(data, "segmentation", "paper")
    with DefaultScope.overwrite_default_scope("mmseg"):
        resize = DATASETS.build(cfg.train_dataloader.dataset).dataset.pipeline.transforms[3]
    np.random.seed(0)
    for shape in ((50, 100, 3), (100, 50, 3)):
        image = np.zeros(shape, np.uint8)
        sizes = [resize({"img": image.copy()})["img"].shape[:2] for _ in range(150)]
        assert all(max(size) == 2 * min(size) for size in sizes)
        assert all((height > width) == (shape[0] > shape[1]) for height, width in sizes)
        shorter = [min(size) for size in sizes]
        assert 260 <= min(shorter) < 290
        assert 1010 < max(shorter) <= 1040
    assert resize.resize.backend == "pillow"
    longest = resize({"img": np.zeros((10, 4000, 3), np.uint8)})["img"].shape
    assert longest == (26, 10_400, 3), "no image fills the memory"


# --- the toolboxes' own ------------------------------------------------------------------------

TOOLBOX = {
    "detection": "mmdet/.mim/configs/pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py",
    "segmentation": "mmseg/.mim/configs/fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py",
}


@pytest.fixture(scope="module")
def toolbox():
    import mmdet

    site = Path(mmdet.__file__).parents[1]
    built = {}

    def get(task):
        if task not in built:
            cfg = Config.fromfile(site / TOOLBOX[task])
            cfg.model.pop("pretrained", None)
            cfg.model.backbone.pop("init_cfg", None)
            with DefaultScope.overwrite_default_scope(cfg.default_scope):
                # On one device the runner makes synchronised norms plain ones.
                built[task] = cfg, revert_sync_batchnorm(MODELS.build(cfg.model)).train()
        return built[task]

    return get


def settings(thing, depth=4):
    """All plain settings of an object and of the objects that it holds, layers included."""
    plain = (int, float, str, bool, type(None))
    if isinstance(thing, plain):
        return thing
    if isinstance(thing, torch.Tensor):
        return tuple(thing.shape)
    if isinstance(thing, list | tuple):
        return [settings(part, depth) for part in thing]
    if isinstance(thing, dict):
        return {k: settings(v, depth) for k, v in thing.items() if k != "_scope_"}
    if depth == 0 or not hasattr(thing, "__dict__"):
        return type(thing).__name__
    members = {k: v for k, v in vars(thing).items() if k not in SKIPPED}
    deeper = depth if isinstance(thing, nn.Module) else depth - 1
    return {"type": type(thing).__name__, **{k: settings(v, deeper) for k, v in members.items()}}


SKIPPED = ("context", "_params_init_info", "init_cfg", "_is_full_backward_hook")


@pytest.mark.parametrize("task", protocols.TASKS)
def test_everything_but_the_backbone_is_the_toolboxes(task, runners, toolbox):
    """Layer by layer and setting by setting, of the built models."""
    ours = runners(task, "openmmlab").model.train()
    _, theirs = toolbox(task)
    names = {name for name, _ in theirs.named_children()} - {"backbone", "data_preprocessor"}
    assert names == {n for n, _ in ours.named_children()} - {"backbone", "data_preprocessor"}
    for name in names:
        own, other = settings(getattr(ours, name)), settings(getattr(theirs, name))
        assert own == other, name
        shapes = [(k, v.shape) for k, v in getattr(ours, name).state_dict().items()]
        assert shapes == [(k, v.shape) for k, v in getattr(theirs, name).state_dict().items()]
    assert settings(ours.train_cfg) == settings(theirs.train_cfg)
    assert settings(ours.test_cfg) == settings(theirs.test_cfg)
    for attribute in ("mean", "std", "_channel_conversion", "pad_size_divisor"):
        own = getattr(ours.data_preprocessor, attribute)
        other = getattr(theirs.data_preprocessor, attribute)
        if isinstance(own, torch.Tensor):
            torch.testing.assert_close(own, other)
        else:
            assert own == other


def test_the_toolboxes_detector_is_as_the_table_says(runners):
    model = runners("detection", "openmmlab").model
    aligns = model.roi_head.bbox_roi_extractor.roi_layers
    assert {a.output_size for a in aligns} == {(7, 7)}
    assert {(a.aligned, a.sampling_ratio) for a in aligns} == {(True, 0)}
    assert type(model.neck).__name__ == "FPN"
    for head in (model.rpn_head, model.roi_head.bbox_head):
        error = head.loss_bbox(torch.tensor([[0.05]]), torch.zeros(1, 1))
        assert float(error) == pytest.approx(0.05), "L1, not smooth"


@pytest.mark.parametrize("task", protocols.TASKS)
def test_the_backbone_is_frozen_and_normalised_like_the_toolboxes(task, runners, toolbox):
    ours = runners(task, "openmmlab").model.train().backbone
    _, theirs = toolbox(task)
    theirs = theirs.train().backbone

    def trained(backbone):
        return sorted(tuple(p.shape) for p in backbone.parameters() if p.requires_grad)

    def norms(backbone):
        found = [m for m in backbone.modules() if isinstance(m, _BatchNorm)]
        kinds = {(m.eps, m.momentum, m.affine, m.track_running_stats) for m in found}
        return kinds, sorted((m.num_features, m.training) for m in found)

    if task == "detection":  # the segmenter's is ResNet-50-C there: other parameters in the stem
        assert trained(ours) == trained(theirs)
        assert norms(ours) == norms(theirs)
    else:
        assert all(p.requires_grad for p in (*ours.parameters(), *theirs.parameters()))
        assert norms(ours)[0] == norms(theirs)[0] == {(1e-5, 0.1, True, True)}
        assert all(training for _, training in norms(ours)[1])


def test_the_detectors_maps_are_the_toolboxes(runners, toolbox):
    """With the same weights, the same four maps."""
    ours = runners("detection", "openmmlab").model.train().backbone
    _, theirs = toolbox("detection")
    torch.manual_seed(0)
    classifier = timm.create_model("resnet50")
    by_name = {k.replace(".", "_"): v for k, v in classifier.state_dict().items()}
    ours.network.load_state_dict(
        {k: by_name[k.replace(".", "_")] for k in ours.network.state_dict()}
    )
    theirs.backbone.load_state_dict(toolbox_names(classifier.state_dict()))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for own, other in zip(ours(images), theirs.backbone(images), strict=True):
            torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("task", protocols.TASKS)
def test_augmentation_is_the_toolboxes(task, data, toolbox):
    theirs, _ = toolbox(task)
    cfg = configured(data, task, "openmmlab")
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        from mmengine.dataset import Compose

        for loader in ("train_dataloader", "val_dataloader"):
            own = [settings(s) for s in Compose(_leaf(cfg[loader].dataset).pipeline).transforms]
            steps = Compose(_leaf(theirs[loader].dataset).pipeline).transforms
            other = [settings(step) for step in steps]
            for step in (*own, *other):
                step.pop("reduce_zero_label", None)  # of the data set, in the driver's configs
            assert own == other


def _leaf(dataset):
    while "pipeline" not in dataset:
        dataset = dataset.get("dataset") or dataset.datasets[0]
    return dataset


def test_optimiser_and_schedule_of_the_toolboxes_detector(runners):
    runner = runners("detection", "openmmlab")
    batch = runner.train_dataloader.batch_sampler.batch_size
    assert batch == 2
    rate = 0.01 * batch / 16
    assert set(optimised(runner).values()) == {(rate, 1e-4, 0.9)}
    assert runner.train_loop.max_epochs == 4
    kept = sum(min(SIZES[i % 4]) >= 32 for i in range(IMAGES))  # the toolbox drops tiny images
    assert len(runner.train_dataloader.dataset) == 3 * kept, "12 passes in 4 epochs"
    by_epoch = learning_rates(runner).reshape(4, -1)
    np.testing.assert_allclose(by_epoch[:3], rate)
    np.testing.assert_allclose(by_epoch[3:], rate / 10)


def test_optimiser_and_schedule_of_the_toolboxes_segmenter(runners):
    runner = runners("segmentation", "openmmlab")
    assert runner.train_dataloader.batch_sampler.batch_size == 16
    assert set(optimised(runner).values()) == {(0.01, 5e-4, 0.9)}, "no multiplier for the heads"
    assert runner.train_loop.max_iters == 80_000
    (scheduler,) = runner.param_schedulers
    assert (scheduler.power, scheduler.eta_min, scheduler.by_epoch) == (0.9, 1e-4, False)
    assert (scheduler.begin, scheduler.end) == (0, 80_000)
