"""Warmup (section 3.1): at batch i of the first m, 1 ≤ i ≤ m, the learning rate is i · η / m."""

from __future__ import annotations

from typing import Any

from backbones.tricks.trick import Schedulers, Trick, register


@register("warmup_epochs")
class Warmup(Trick):
    """Raises the learning rate linearly at first; the value is a number of epochs of the recipe."""

    order = 3.1

    def schedulers(self, schedulers: Schedulers, epochs: int, total: int) -> Schedulers:
        """Put the warmup before all others, unless it would last a single iteration."""
        batches = round(total * self.value / epochs)
        return [warmup_scheduler(batches), *schedulers] if batches > 1 else schedulers


def warmup_scheduler(batches: int) -> dict[str, Any]:
    """MMEngine's ``LinearLR``, set so that its i-th value is i · η / m.

    Args:
        batches: m, at least 2; five epochs in the paper.
    """
    return {
        "type": "LinearLR",
        "start_factor": 1 / batches,
        "end_factor": 1.0,
        "begin": 0,
        "end": batches,
        "by_epoch": False,
    }
