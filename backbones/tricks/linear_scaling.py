"""Linear scaling (section 3.1): η = 0.1 · b / 256 for a batch of b images."""

from __future__ import annotations

REFERENCE_BATCH = 256


def scaled_lr(base_lr: float, batch_size: int) -> float:
    """The learning rate of a batch over all devices, given the rate at a batch of 256."""
    return base_lr * batch_size / REFERENCE_BATCH
