"""A training loop that can resume at any iteration without loading earlier images."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import torch
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS, LOOPS
from mmengine.runner import BaseLoop
from torch.utils.data import BatchSampler, Sampler

from backbones.common.errors import UserError
from backbones.runtime import stopping
from backbones.runtime.ahead import Ahead


@DATA_SAMPLERS.register_module()
class ResumableBatchSampler(BatchSampler):
    """Batches of keys, starting at any batch of an epoch.

    Each of n processes makes the same batches and takes every n-th key of a batch. So the images of
    a step depend on the global batch size, not on the number of processes. A last batch that cannot
    be divided equally is filled with its own keys.

    Args:
        sampler: Source of the keys, all of them in each process.
        batch_size: Keys per batch in each process.
        drop_last: Leave out an incomplete last batch.
        by_aspect_ratio: Batch wide images together and tall images together, as MMDetection does.
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        drop_last: bool = False,
        by_aspect_ratio: bool = False,
    ) -> None:
        super().__init__(sampler, batch_size, drop_last)
        self.rank, self.world_size = get_dist_info()
        if self.world_size > 1:
            sampler.take_all()  # type: ignore[attr-defined]
        self.global_batch_size = batch_size * self.world_size
        self.dataset = getattr(sampler, "dataset", None)
        self.by_aspect_ratio = by_aspect_ratio
        self.skipped = 0

    def __iter__(self) -> Iterator[list[int]]:
        # A generator, so that keys are taken only with the first batch: a loader with workers
        # asks for two iterators and draws from the second.
        skipped, self.skipped = self.skipped, 0
        batches = self._grouped() if self.by_aspect_ratio else self._in_order()
        yield from map(self._share, islice(batches, skipped, None))

    def __len__(self) -> int:
        keys = len(self.sampler)  # type: ignore[arg-type]
        return (
            keys // self.global_batch_size if self.drop_last else -(-keys // self.global_batch_size)
        )

    def _share(self, batch: list[int]) -> list[int]:
        """This process's part of a batch."""
        size = -(-len(batch) // self.world_size) * self.world_size
        return [batch[i % len(batch)] for i in range(self.rank, size, self.world_size)]

    def _in_order(self) -> Iterator[list[int]]:
        keys = iter(self.sampler)
        while batch := list(islice(keys, self.global_batch_size)):
            if len(batch) == self.global_batch_size or not self.drop_last:
                yield batch

    def _grouped(self) -> Iterator[list[int]]:
        """Batches of one orientation as they become full; the remaining keys follow, mixed."""
        assert self.dataset is not None
        wide: list[int] = []
        tall: list[int] = []
        for key in self.sampler:
            info = self.dataset.get_data_info(key)
            bucket = tall if info["width"] < info["height"] else wide
            bucket.append(key)
            if len(bucket) == self.global_batch_size:
                yield bucket[:]
                bucket.clear()
        rest = tall + wide
        for start in range(0, len(rest), self.global_batch_size):
            batch = rest[start : start + self.global_batch_size]
            if len(batch) == self.global_batch_size or not self.drop_last:
                yield batch

    def skip(self, batches: int) -> None:
        """Start the next epoch after this many batches, without loading them."""
        self.skipped = batches


@LOOPS.register_module()
class ResumableTrainLoop(BaseLoop):
    """Trains for a number of epochs or iterations, starting at any iteration.

    Args:
        runner: The runner.
        dataloader: Config of the loader; its batch sampler is a :class:`ResumableBatchSampler`.
        max_epochs: Passes over the data, or None.
        max_iters: Iterations, or None; the sampler is then endless.
        val_interval: Epochs or iterations between evaluations during training; None for none.

    Raises:
        UserError: There are fewer images than a batch, so nothing would be trained.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Any,
        *,
        max_epochs: int | None = None,
        max_iters: int | None = None,
        val_interval: int | None = None,
    ) -> None:
        super().__init__(runner, dataloader)
        if (max_epochs is None) == (max_iters is None):
            raise ValueError("give either max_epochs or max_iters")
        self.by_epoch = max_epochs is not None
        self.epoch_length = len(self.dataloader) if self.by_epoch else int(max_iters or 0)
        if not self.epoch_length:
            sampler = self.dataloader.batch_sampler
            raise UserError(
                f"There are {len(self.dataloader.dataset)} training images, fewer than a batch of "
                f"{sampler.global_batch_size}: nothing would be trained (images without a box do "
                "not count). Check the data set's lists, or lower the batch size."
            )
        self.max_epochs = int(max_epochs or 1)
        self.max_iters = self.max_epochs * self.epoch_length
        self.val_interval = val_interval or (self.max_epochs if self.by_epoch else self.max_iters)
        self.val_begin = 1
        self.iter = 0
        self.epoch = 0

    @property
    def images(self) -> int:
        """Total number of training images, without those that fill the last batch."""
        sampler = self.dataloader.batch_sampler
        full = self.epoch_length * sampler.global_batch_size
        return self.max_epochs * (min(full, len(sampler.sampler)) if self.by_epoch else full)

    def go_to(self, iteration: int) -> None:
        """Continue with this iteration, counted from 0."""
        self.iter = iteration
        self.epoch = iteration // self.epoch_length

    def run(self) -> Any:
        """Train to the end."""
        self.runner.call_hook("before_train")
        while self.iter < self.max_iters:
            self._run_epoch()
        self.runner.call_hook("after_train")
        return self.runner.model

    def _run_epoch(self) -> None:
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        done = self.iter - self.epoch * self.epoch_length
        self.dataloader.batch_sampler.skip(done)
        readers = self._of_readers(lambda: iter(self.dataloader), done)
        with self._batches(readers, self.epoch_length - done) as batches:
            for index in range(done, self.epoch_length):
                batch = self._of_readers(partial(next, batches, None), index)
                if batch is None:
                    break
                self.run_iter(index, batch)
                if not self.by_epoch and self.iter % self.val_interval == 0:
                    self._evaluate()
        self.runner.call_hook("after_train_epoch")
        self.epoch += 1
        if self.by_epoch and self.epoch % self.val_interval == 0:
            self._evaluate()

    @contextlib.contextmanager
    def _batches(self, readers: Iterator[Any], count: int) -> Iterator[Iterator[Any]]:
        """The next batches; on a GPU, a thread fetches those of loader workers in advance."""
        batches = islice(readers, count)
        if not (self.dataloader.num_workers and torch.cuda.is_available()):
            yield batches
            return
        with contextlib.closing(Ahead(batches)) as taken:
            yield taken

    def _of_readers(self, ask: Callable[[], Any], index: int) -> Any:
        """What the loader workers return for an iteration.

        A request to stop may reach all processes, and loader workers then end at once. So if they
        are gone, the checks before an iteration are repeated.
        """
        try:
            return ask()
        except (RuntimeError, OSError, EOFError):
            if stopping.requested():
                self.runner.call_hook("before_train_iter", batch_idx=index, data_batch=None)
            raise

    def run_iter(self, index: int, batch: Any) -> None:
        """Perform one step; hooks see the iteration's number until all are done."""
        self.runner.call_hook("before_train_iter", batch_idx=index, data_batch=batch)
        outputs = self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)
        self.runner.call_hook(
            "after_train_iter", batch_idx=index, data_batch=batch, outputs=outputs
        )
        self.iter += 1

    def _evaluate(self) -> None:
        """Evaluate during training, for the curve; the caller evaluates at the end."""
        if self.iter < self.max_iters and self.runner.val_loop is not None:
            self.runner.val_loop.run()
            self.runner.model.train()
