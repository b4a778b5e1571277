"""Linear scaling (section 3.1): η = 0.1 · b / 256 for a batch size of b."""

from __future__ import annotations

REFERENCE_BATCH = 256


def scaled_lr(base_lr: float, batch_size: int) -> float:
    """The learning rate for a global batch size, given the one for a batch size of 256."""
    return base_lr * batch_size / REFERENCE_BATCH
