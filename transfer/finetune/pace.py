"""The speed of this machine relative to the one on which the sample's run was timed."""

from __future__ import annotations

import time

import torch

from backbones.common import hardware

_REFERENCE = 0.08  # seconds of the convolution below on two cores of an AMD EPYC, family 25
_REPEATS = 3
_ON_A_GPU = 0.1  # kernels are so short there that launching them and reading images dominate


def pace() -> float:
    """Seconds that this machine needs for one second of work of the reference machine.

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
