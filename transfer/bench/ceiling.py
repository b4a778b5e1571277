"""The share of the machine's peak arithmetic that a training reaches.

A ratio of two sides depends on the machine: if all time is arithmetic already, only a lower
precision or fewer multiplications can shorten it. So each record has the machine's ceiling,
measured with plain matrix products, and the counted arithmetic of the training.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from mmengine.runner import Runner
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode

from backbones.common import hardware
from transfer.bench.configs import stock_config, trained_images
from transfer.bench.pairs import Arithmetic, Work

_SECONDS = 1.0  # of matrix products
_COUNTED = 24  # most images to count, since counting takes longer than computing


def measured() -> dict[str, float]:
    """Floating-point operations per second of the device's matrix products, by precision.

    In float32 a GPU computes them like convolutions: in TF32, if torch allows.
    """
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {precision: _of_products(device, precision) for precision in hardware.PRECISIONS}


def _of_products(device: str, precision: str) -> float:
    if device == "cuda":
        side = 8192
    elif precision in ("float32", hardware.fast_precision()):
        side = 2048
    else:
        side = 512  # bfloat16 without instructions for it takes minutes at 2048
    a, b = (
        torch.randn(side, side, device=device, dtype=getattr(torch, precision)) for _ in range(2)
    )
    timer = Timer("a @ b", globals={"a": a, "b": b}, num_threads=torch.get_num_threads())
    return 2 * side**3 / min(timer.blocked_autorange(min_run_time=_SECONDS).times)


def count(work: Work, place: Path) -> Arithmetic:
    """The arithmetic of a training, forward and backward, and the machine's ceiling.

    Convolutions and matrix products of stock training are counted, since ours may leave some out.
    Of many images only the first ones are counted, as an example.
    """
    counted = min(work.images, max(_COUNTED, 2 * work.batch_size))
    runner = Runner.from_cfg(stock_config(dataclasses.replace(work, images=counted), place))
    torch.backends.cudnn.benchmark = False  # trying out convolutions takes longer than counting
    with FlopCounterMode(display=False) as counter:
        runner.train()
    return Arithmetic(counter.get_total_flops() / trained_images(runner), measured())
