"""Focal losses: -α (1 - p)^γ log p, with p the probability of what is true.

"Focal Loss for Dense Object Detection" (arXiv 1708.02002). With sigmoids, each class of a sample is
a question of its own, and α of the positive answer becomes 1 - α for the negative.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from transfer.operators.float_types import widened


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """The loss of each sample and class, written into ``output``.

    Args:
        input: (N, C), logits.
        target: (N,), classes from 0; C is the background, which all classes should deny.
        weight: (C,), a weight for each target; or empty.
        output: (N, C), overwritten.
        gamma: γ; larger values lower the loss of easy samples.
        alpha: α, 0 to 1.
    """
    answer, _, factor = _answers(input, target, weight, alpha)
    log_p = functional.logsigmoid(answer)
    output.copy_(factor.neg_().mul_(torch.sigmoid(-answer).pow_(gamma)).mul_(log_p))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """The derivative of each loss by its logit, written into ``grad_input`` (N, C).

    With q = 1 - p and s the logit of the true answer: dp/ds = p q, so the derivative by s is
    α q^γ (γ p log p - q).
    """
    answer, sign, factor = _answers(input, target, weight, alpha)
    q = torch.sigmoid(-answer)
    slope = functional.logsigmoid(answer).mul_(torch.sigmoid(answer)).mul_(gamma).sub_(q)
    grad_input.copy_(slope.mul_(q.pow_(gamma)).mul_(factor).mul_(sign))


def _answers(
    input: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The logit of each true answer, its sign in the input, and its α times its weight; (N, C)."""
    input = widened(input)
    true = _is_target(input, target)
    sign = 2 * true - 1
    factor = alpha * true + (1 - alpha) * (1 - true)
    if weight.numel():
        factor *= weight[target, None]
    return input * sign, sign, factor


def _is_target(input: Tensor, target: Tensor) -> Tensor:
    """1 for the class that is each sample's target, else 0; (N, C)."""
    classes = torch.arange(input.shape[1], device=input.device)
    return (target[:, None] == classes).to(input.dtype)


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """The loss of each sample, written into ``output``.

    Args:
        input: (N, C), probabilities: mmcv computes the softmax itself.
        target: (N,), classes from 0; negative ones have no loss.
        weight: (C,), a weight for each target; or empty.
        output: (N,), overwritten.
        gamma: γ; larger values lower the loss of easy samples.
        alpha: α, 0 to 1.
    """
    p, factor = _probabilities(input, target, weight, alpha)
    output.copy_(-factor * (1 - p) ** gamma * _positive(p).log())


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """The derivatives of each loss by its sample's logits, written into ``grad_input`` (N, C).

    The derivative of log p by the logit of class c is [c is the target] - p_c, and that of the loss
    by log p is α (γ p (1 - p)^(γ - 1) log p - (1 - p)^γ), which is also left in ``buff`` (N,).
    """
    p, factor = _probabilities(input, target, weight, alpha)
    q = 1 - p
    power = _positive(q) ** (gamma - 1)
    slope = factor * (gamma * p * power * _positive(p).log() - q**gamma)
    buff.copy_(slope)
    input = widened(input)
    grad_input.copy_(slope[:, None] * (_is_target(input, target) - input))


def _probabilities(
    input: Tensor, target: Tensor, weight: Tensor, alpha: float
) -> tuple[Tensor, Tensor]:
    """The probability of each target, and its α times its weight, 0 for negative targets; (N,)."""
    index = target.clamp(min=0)
    p = widened(input).gather(1, index[:, None])[:, 0]
    factor = alpha * (target >= 0).to(p.dtype)
    return p, factor * weight[index] if weight.numel() else factor


def _positive(p: Tensor) -> Tensor:
    return p.clamp(min=torch.finfo(p.dtype).tiny)
