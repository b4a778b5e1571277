import math

import pytest
import torch
from mmcv.ops import SigmoidFocalLoss, sigmoid_focal_loss, softmax_focal_loss
from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
from torch.nn import functional

GAMMAS = [0.0, 0.5, 1.0, 2.0]


def samples(seed=0, dtype=torch.float64):
    """Logits of five samples and three classes, and targets of which 3 is the background."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(5, 3, generator=generator, dtype=dtype)
    return logits.requires_grad_(), torch.tensor([0, 3, 2, 1, 3])


def of_the_paper(p, gamma, alpha):
    """Equation 5 for one true answer of probability p."""
    return -alpha * (1 - p) ** gamma * math.log(p)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_sigmoid_losses_follow_the_papers_equation(gamma, weighted):
    logits, targets = samples()
    weight = torch.tensor([0.5, 2.0, 3.0], dtype=logits.dtype) if weighted else None
    if weighted:
        logits, targets = logits.detach()[targets < 3].requires_grad_(), targets[targets < 3]
    losses = sigmoid_focal_loss(logits, targets, gamma, 0.3, weight, "none")
    for i, row in enumerate(logits.tolist()):
        for c, logit in enumerate(row):
            p = 1 / (1 + math.exp(-logit))
            is_true = targets[i] == c
            expected = of_the_paper(p if is_true else 1 - p, gamma, 0.3 if is_true else 0.7)
            factor = float(weight[targets[i]]) if weighted else 1
            assert losses[i, c].item() == pytest.approx(factor * expected, rel=1e-9)
    assert torch.autograd.gradcheck(
        lambda x: sigmoid_focal_loss(x, targets, gamma, 0.3, weight, "none"), logits
    )


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_sigmoid_losses_equal_mmdets_in_python(reduction):
    logits, targets = samples(1)
    loss = SigmoidFocalLoss(2.0, 0.25, reduction=reduction)(logits, targets)
    one_hot = functional.one_hot(targets, 4)[:, :3]
    expected = py_sigmoid_focal_loss(logits, one_hot, reduction="sum")
    if reduction == "mean":
        expected = expected / len(logits)  # mmcv's mean is over samples
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        torch.autograd.grad(loss, logits)[0], torch.autograd.grad(expected, logits)[0]
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gamma", GAMMAS)
def test_softmax_losses_follow_the_papers_equation(gamma, weighted):
    logits, _ = samples()
    targets = torch.tensor([0, 2, 2, 1, -1])
    weight = torch.tensor([0.5, 2.0, 3.0], dtype=logits.dtype) if weighted else None
    losses = softmax_focal_loss(logits, targets, gamma, 0.3, weight, "none")
    for i, target in enumerate(targets.tolist()):
        p = math.exp(logits[i, target]) / sum(map(math.exp, logits[i].tolist()))
        factor = float(weight[target]) if weighted else 1
        expected = factor * of_the_paper(p, gamma, 0.3) if target >= 0 else 0
        assert losses[i].item() == pytest.approx(expected, rel=1e-9)
    # mmcv's own code multiplies a (N, C) gradient by that of the loss, so only sums are possible
    assert torch.autograd.gradcheck(
        lambda x: softmax_focal_loss(x, targets, gamma, 0.3, weight, "sum"), logits
    )


@pytest.mark.parametrize("loss_of", [sigmoid_focal_loss, softmax_focal_loss])
@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_certain_answers_have_finite_losses_and_gradients(loss_of, gamma, logit):
    logits = torch.tensor([[logit, 0.0]], requires_grad=True)
    loss = loss_of(logits, torch.tensor([0]), gamma, 0.25, None, "sum")
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss_of", [sigmoid_focal_loss, softmax_focal_loss])
def test_focal_losses_of_low_precision_are_rounded_once(loss_of, dtype):
    logits, targets = samples(dtype=torch.float32)
    targets = targets.clamp(max=2)
    low = logits.detach().to(dtype).requires_grad_()
    found = loss_of(low, targets, 2.0, 0.25, None, "none")
    exact = loss_of(low.float(), targets, 2.0, 0.25, None, "none")
    assert found.dtype == dtype
    (gradient,) = torch.autograd.grad(loss_of(low, targets, 2.0, 0.25, None, "sum"), low)
    assert gradient.dtype == dtype
    if loss_of is sigmoid_focal_loss:  # mmcv computes the softmax itself, in the type of the logits
        torch.testing.assert_close(found, exact.to(dtype), rtol=0, atol=0)
    torch.testing.assert_close(found.float(), exact, rtol=0.05, atol=1e-2)


@pytest.mark.parametrize("loss_of", [sigmoid_focal_loss, softmax_focal_loss])
def test_focal_losses_of_no_samples(loss_of):
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = loss_of(logits, torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, "sum")
    assert loss == 0
    assert torch.autograd.grad(loss, logits)[0].shape == (0, 3)
