"""A two-stage detector's step with boxes on the host: the toolbox's losses and gradients."""

import copy
import types

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

from backbones.runtime.randomness import SeedIterations
from transfer import openmmlab  # noqa: F401
from transfer.engine.placed_sampler import PlacedSampling
from transfer.plan.protocols import config_file

from mmdet.structures import DetDataSample  # isort: skip

from transfer.engine.two_stage_step import TwoStageStep, is_plain


def a_detector(protocol, **of_training):
    """A protocol's detector with a small backbone and draws by place, in training mode."""
    whole = Config.fromfile(config_file("detection", protocol))
    whole.merge_from_dict({f"model.{name}": value for name, value in of_training.items()})
    cfg = whole.model
    cfg.backbone.update(architecture="resnet18", weights=None)
    if "neck" in cfg:
        cfg.neck.in_channels = [64, 128, 256, 512]
    else:
        cfg.rpn_head.update(in_channels=256, feat_channels=64)
        cfg.roi_head.shared_head.update(architecture="resnet18", weights=None)
        cfg.roi_head.bbox_roi_extractor.out_channels = 256
        cfg.roi_head.bbox_head.in_channels = 512
    torch.manual_seed(3)
    with DefaultScope.overwrite_default_scope("mmdet"):
        detector = MODELS.build(cfg)
    PlacedSampling().before_run(types.SimpleNamespace(model=detector))
    for layer in (detector.rpn_head.rpn_cls, detector.rpn_head.rpn_reg):
        torch.nn.init.normal_(layer.weight, std=0.05)  # so that proposals differ from anchors
    return detector.train()


def samples(*images):
    """Of (height, width, padded height and width, boxes with labels), image by image."""
    made = []
    for height, width, padded, boxes in images:
        told = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 5)
        meta = {"img_shape": (height, width), "pad_shape": padded, "scale_factor": (1.0, 1.0)}
        sample = DetDataSample(metainfo=meta)
        sample.gt_instances = InstanceData(bboxes=told[:, :4], labels=told[:, 4].long())
        sample.ignored_instances = InstanceData(bboxes=told[:1, :4] + 3)
        made.append(sample)
    return made


def losses_and_gradients(detector, loss, images, told):
    for parameter in detector.parameters():
        parameter.grad = None
    SeedIterations().before_train_iter(types.SimpleNamespace(seed=0, iter=5, rank=0), 5)
    for owner, name in ((detector.rpn_head, "sampler"), (detector.roi_head, "bbox_sampler")):
        getattr(owner, name).images = 0  # the first of the iteration again
    losses = loss(images, copy.deepcopy(told))
    total, shown = detector.parse_losses(losses)
    total.backward()
    gradients = {name: p.grad for name, p in detector.named_parameters() if p.grad is not None}
    return shown, gradients


TWO = (
    (96, 128, (96, 128), [(10, 12, 50, 60, 2), (60, 8, 120, 90, 5), (4, 50, 30, 92, 2)]),
    (90, 100, (96, 128), [(20, 20, 70, 80, 1)]),
)
EMPTY = (TWO[0], (96, 128, (96, 128), []))
UNLIKE = (TWO[0], (64, 70, (64, 96), [(5, 5, 40, 60, 0)]))  # padded to another size


@pytest.mark.parametrize("protocol", ["quick", "openmmlab", "paper"])
@pytest.mark.parametrize("images", [TWO, EMPTY, UNLIKE])
def test_losses_and_gradients_are_the_toolboxs(protocol, images):
    detector = a_detector(protocol)
    assert is_plain(detector)
    told = samples(*images)
    batch = torch.randn(2, 3, 96, 128)
    expected, its_gradients = losses_and_gradients(detector, detector.loss, batch, told)
    found, gradients = losses_and_gradients(detector, TwoStageStep(detector), batch, told)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7, msg=name)
    assert gradients.keys() == its_gradients.keys()
    for name, gradient in its_gradients.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(
            gradients[name], gradient, rtol=1e-4, atol=1e-5 * scale, msg=name
        )


@pytest.mark.parametrize("limit", [20, 200, 2000])
@pytest.mark.parametrize("least", [-1, 0, 8])
def test_proposals_are_the_toolboxs(limit, least):
    detector = a_detector(
        "openmmlab", **{"train_cfg.rpn_proposal": {"max_per_img": limit, "min_bbox_size": least}}
    )
    told = samples(*UNLIKE)
    batch = torch.randn(2, 3, 96, 128)
    metas = [sample.metainfo for sample in told]
    with torch.no_grad():
        outputs = detector.rpn_head(detector.extract_feat(batch))
        cfg = detector.train_cfg.rpn_proposal
        expected = detector.rpn_head.predict_by_feat(*outputs, batch_img_metas=metas, cfg=cfg)
        step = TwoStageStep(detector)
        limits = torch.tensor([meta["img_shape"] for meta in metas], dtype=torch.float32)
        whole = step.compute(batch, limits)
        for number, wanted in enumerate(expected):
            found = step._suppressed(whole.candidates[number], whole.apart[number])
            torch.testing.assert_close(found, wanted.bboxes, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(
    "change",
    [
        {"rpn_head.loss_bbox": {"type": "GIoULoss", "_delete_": True}},
        {"rpn_head.reg_decoded_bbox": True},
        {"rpn_head.loss_cls.class_weight": [2.0]},
        {"train_cfg.rpn.pos_weight": 2.0},
        {"train_cfg.rpn.sampler.type": "PseudoSampler"},
        {"train_cfg.rpn_proposal.nms.type": "soft_nms"},
        {"roi_head.bbox_head.reg_class_agnostic": True},
        {"roi_head.bbox_head.loss_bbox": {"type": "GIoULoss", "_delete_": True}},
        {"train_cfg.rcnn.sampler.type": "OHEMSampler"},
    ],
)
def test_a_detector_of_other_parts_is_left_to_the_toolbox(change):
    assert not is_plain(a_detector("openmmlab", **change))
    assert is_plain(a_detector("openmmlab"))


def test_an_image_without_any_anchor_inside_is_told():
    step = TwoStageStep(a_detector("paper"))
    with pytest.raises(ValueError, match="no anchor lies within an image"):
        step(torch.randn(1, 3, 32, 32), samples((20, 20, (32, 32), [(1, 1, 9, 9, 0)])))
