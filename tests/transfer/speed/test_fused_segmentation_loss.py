"""The strip-wise loss of segmentation heads gives the toolbox's own values and gradients."""

import re

import pytest
import torch

from transfer import openmmlab  # noqa: F401  (registers everything, operators first)

from mmengine.structures import PixelData  # isort: skip
from mmseg.models.decode_heads import FCNHead  # isort: skip
from mmseg.structures import SegDataSample  # isort: skip

from transfer.speed import fused_segmentation_loss
from transfer.speed.fused_segmentation_loss import FusedSegmentationLoss, unlike
from transfer.speed.part import Inactive


def a_head(**changes):
    torch.manual_seed(0)
    loss = {"type": "CrossEntropyLoss", "loss_weight": 0.4, **changes.pop("loss", {})}
    options = {"in_channels": 8, "channels": 8, "num_classes": 5, "loss_decode": loss, **changes}
    return FCNHead(num_convs=1, concat_input=False, norm_cfg={"type": "BN"}, **options)


def samples(height, width, ignored=()):
    generator = torch.Generator().manual_seed(1)
    batch = []
    for _ in range(3):
        labels = torch.randint(5, (1, height, width), generator=generator)
        for row in ignored:
            labels[:, row] = 255
        batch.append(SegDataSample(gt_sem_seg=PixelData(data=labels)))
    return batch


def both(head, logits, labels):
    """Losses and gradient of the head's own loss, then of the one in its place."""
    runner = type("Runner", (), {"model": head})
    pairs = []
    for fused in (False, True):
        if fused:
            FusedSegmentationLoss().install(runner)
        own = logits.clone().requires_grad_()
        losses = head.loss_by_feat(own, labels)
        (3 * losses["loss_ce"]).backward()
        pairs.append((losses, own.grad))
    assert isinstance(head.loss_by_feat, fused_segmentation_loss._Loss)
    return pairs


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("avg_non_ignore", [False, True])
@pytest.mark.parametrize("strip", [1, 1000, 1 << 18])
def test_loss_accuracy_and_gradient_are_the_toolboxs(
    monkeypatch, align_corners, avg_non_ignore, strip
):
    monkeypatch.setattr(fused_segmentation_loss, "_STRIP", strip)
    head = a_head(align_corners=align_corners, loss={"avg_non_ignore": avg_non_ignore})
    logits = 4 * torch.randn(3, 5, 6, 9)
    logits = logits.contiguous(memory_format=torch.channels_last)
    (stock, stock_gradient), (ours, gradient) = both(head, logits, samples(40, 66, (3, 4, 39)))
    assert stock.keys() == ours.keys()
    for name, value in stock.items():
        assert value.shape == ours[name].shape
        torch.testing.assert_close(ours[name], value, rtol=2e-6, atol=0)
    torch.testing.assert_close(gradient, stock_gradient, rtol=1e-5, atol=1e-8)


def test_labels_that_are_all_ignored_give_no_loss_and_no_gradient():
    logits = torch.randn(3, 5, 4, 4)
    (stock, _), (ours, gradient) = both(a_head(), logits, samples(8, 8, range(8)))
    assert ours["loss_ce"] == stock["loss_ce"] == 0
    assert not gradient.any()


def test_bfloat16_logits_are_upsampled_in_float32_which_autocast_does_not():
    logits = torch.randn(3, 5, 6, 9).bfloat16()
    labels = samples(40, 66)
    exact, exact_gradient = both(a_head(), logits.float(), labels)[0]
    with torch.autocast("cpu", torch.bfloat16):
        (stock, stock_gradient), (ours, gradient) = both(a_head(), logits, labels)
    torch.testing.assert_close(ours["loss_ce"], exact["loss_ce"], rtol=1e-6, atol=0)
    torch.testing.assert_close(ours["loss_ce"], stock["loss_ce"], rtol=2**-8, atol=0)
    assert gradient.dtype == torch.bfloat16
    error, stock_error = (
        (found.float() - exact_gradient).abs().max() for found in (gradient, stock_gradient)
    )
    assert error <= min(stock_error, 2**-8 * exact_gradient.abs().max())


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": {"use_sigmoid": True}},
        {"loss": {"class_weight": [1.0, 2.0, 1.0, 1.0, 1.0]}},
        {"sampler": {"type": "OHEMPixelSampler", "thresh": 0.7, "min_kept": 10}},
        {"loss_decode": [{"type": "CrossEntropyLoss"}, {"type": "DiceLoss"}]},
    ],
)
def test_any_other_loss_stays_with_its_head(changes):
    head = a_head(**changes)
    with pytest.raises(Inactive, match=re.escape(unlike(head))):
        FusedSegmentationLoss().install(type("Runner", (), {"model": head}))
    assert "loss_by_feat" not in vars(head)
