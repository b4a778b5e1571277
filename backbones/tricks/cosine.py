"""Cosine decay (section 5.1): η_t = ½ (1 + cos(t π / T)) η, for t = 0 … T batches after warmup."""

from __future__ import annotations

from typing import Any


def cosine_scheduler(begin: int, end: int) -> dict[str, Any]:
    """MMEngine's ``CosineAnnealingLR`` over the batches from ``begin`` to ``end``."""
    return {
        "type": "CosineAnnealingLR",
        "T_max": end - begin,
        "eta_min": 0.0,
        "begin": begin,
        "end": end,
        "by_epoch": False,
    }
