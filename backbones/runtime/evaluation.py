"""Evaluation that is shared between processes and gives what one process gives, exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.dist import get_dist_info
from mmengine.evaluator import BaseMetric
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, Sampler

from backbones.runtime import ranks, stopping


@DATA_SAMPLERS.register_module()
class BatchesOfARank(BatchSampler):
    """Each process's part of the batches that a single process would have, in their order.

    Whole batches are shared, since a detector's figures depend a little on what an image is batched
    with. The parts follow one another, and no image is repeated to make them equally long.

    Args:
        sampler: Of the data set; its own order and shares are passed over.
        batch_size: Images a batch.
    """

    def __init__(self, sampler: Sampler, batch_size: int) -> None:
        super().__init__(sampler, batch_size, drop_last=False)
        rank, world_size = get_dist_info()
        self.images = len(sampler.dataset)  # type: ignore[attr-defined]
        batches = -(-self.images // batch_size)
        self.mine = range(batches * rank // world_size, batches * (rank + 1) // world_size)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.mine:
            first = batch * self.batch_size
            yield list(range(first, min(first + self.batch_size, self.images)))

    def __len__(self) -> int:
        return len(self.mine)


class SharedMetric(BaseMetric):
    """A metric that can be computed from what each process saw of :class:`BatchesOfARank`.

    Args:
        shared: Whether the images were shared in that way; else as MMEngine's samplers do it.
    """

    def __init__(self, shared: bool = False) -> None:
        super().__init__()
        self.shared = shared

    def evaluate(self, size: int) -> dict:
        """The metrics, the same in all processes.

        Raises:
            Superseded: Another has taken the training over; metrics may write beside it.
        """
        ranks.on_main(stopping.require_ours)
        if not self.shared:
            return super().evaluate(size)
        results: list[Any] = [result for part in ranks.gathered(self.results) for result in part]
        self.results.clear()
        return ranks.on_main(lambda: self.compute_metrics(results))
