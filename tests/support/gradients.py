"""Gradients of a function, to compare two ways to compute it."""

import torch


def with_gradients(function, tensors, gradient):
    """The output, and the gradients of the tensors that it is made of."""
    tensors = [each.detach().clone().requires_grad_() for each in tensors]
    output = function(*tensors)
    return [output, *torch.autograd.grad(output, tensors, gradient)]
