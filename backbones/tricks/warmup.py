"""Warmup (section 3.1): at batch i of the first m, 1 ≤ i ≤ m, the learning rate is i · η / m."""

from __future__ import annotations

from typing import Any


def warmup_scheduler(batches: int) -> dict[str, Any]:
    """MMEngine's ``LinearLR``, set so that its i-th value is i · η / m.

    Args:
        batches: m, at least 2; the paper takes five epochs of them.
    """
    return {
        "type": "LinearLR",
        "start_factor": 1 / batches,
        "end_factor": 1.0,
        "begin": 0,
        "end": batches,
        "by_epoch": False,
    }
