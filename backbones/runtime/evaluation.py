"""Evaluation shared among processes, with exactly the result of one process."""

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
    """Each process's share of the batches of a single process, in order.

    The processes share whole batches, because a detector's metrics depend slightly on the other
    images of a batch. No image is repeated to make the shares equal.

    Args:
        sampler: Sampler of the data set; its order and shares are ignored.
        batch_size: Images per batch.
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
    """A metric that can be computed from the shares of :class:`BatchesOfARank`.

    Args:
        shared: Whether the images were shared in that way, not by MMEngine's samplers.
    """

    def __init__(self, shared: bool = False) -> None:
        super().__init__()
        self.shared = shared

    def evaluate(self, size: int) -> dict:
        """The metrics, the same in all processes.

        Raises:
            Superseded: Another process owns the training; metrics may write into its folder.
        """
        ranks.on_main(stopping.require_ours)
        if not self.shared:
            return super().evaluate(size)
        results: list[Any] = [result for part in ranks.gathered(self.results) for result in part]
        self.results.clear()
        return ranks.on_main(lambda: self.compute_metrics(results))
