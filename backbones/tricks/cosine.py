"""Cosine decay (section 5.1): η_t = ½ (1 + cos(t π / T)) η, for t = 0 … T batches after warmup."""

from __future__ import annotations

from typing import Any

from backbones.tricks.trick import Schedulers, Trick, register


@register("schedule")
class Cosine(Trick):
    """Replaces the last scheduler by cosine decay; the value is ``"cosine"``."""

    order = 5.1

    def schedulers(self, schedulers: Schedulers, epochs: int, total: int) -> Schedulers:
        """A cosine from the end of the warmup to the end of the training."""
        *before, _ = schedulers
        begin = before[-1]["end"] if before else 0
        return [*before, cosine_scheduler(begin, total)]


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
