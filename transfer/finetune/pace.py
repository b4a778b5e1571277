"""How fast this machine computes beside the one that the sample's run was timed on."""

from __future__ import annotations

import time

import torch

from backbones.common import hardware

_REFERENCE = 0.42  # seconds of the convolution below on two cores of an AMD EPYC, family 25
_REPEATS = 3
_ON_A_GPU = 0.1  # kernels are so short there that starting them and reading images decide


def pace() -> float:
    """Seconds that this machine takes for what the reference machine does in one.

    Measured with a convolution of ResNet's third stage, forward and backward.
    """
    if hardware.cuda_devices():
        return _ON_A_GPU
    convolution = torch.nn.Conv2d(256, 256, 3, padding=1).to(memory_format=torch.channels_last)
    images = torch.randn(8, 256, 28, 28).to(memory_format=torch.channels_last)
    fast = hardware.fast_precision() == "bfloat16"
    spent = []
    for _ in range(_REPEATS):
        begun = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            convolution(images.requires_grad_()).sum().backward()
        spent.append(time.perf_counter() - begun)
    return min(spent) / _REFERENCE
