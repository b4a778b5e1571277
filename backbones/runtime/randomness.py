"""Random draws that depend only on the seed and on their place in the training.

Augmentation draws from (seed, epoch, image), sampling and dropout from (seed, iteration). So a
resumed training, or another number of loader workers, gives the same result. (MMEngine seeds loader
workers with a constant: without persistent workers, every epoch repeats the same draws; with them,
a resumed run repeats those of the first epoch.)
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, DATASETS, HOOKS
from torch.utils.data import Sampler

_ORDER, _AUGMENTATION, _ITERATION, _PLACE = range(4)  # separate streams of draws


def derive(*key: int) -> int:
    """A 32-bit seed that depends on every number of the key, each 0 or more."""
    return int(np.random.SeedSequence(key).generate_state(1)[0])


@DATASETS.register_module()
class ReplayableDataset:
    """A data set whose augmentation follows from (seed, epoch, image).

    It is indexed by *keys*, ``epoch * len(dataset) + index``, which :class:`ReplayableSampler`
    yields, so that the epoch also reaches persistent loader workers.

    Args:
        dataset: The wrapped data set, or its config.

    Attributes:
        seed: Set by the sampler, which receives it from the runner.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.seed = 0

    @property
    def metainfo(self) -> dict:
        """Classes and palette of the wrapped data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Load the annotations."""
        self.dataset.full_init()

    def __len__(self) -> int:
        return len(self.dataset)

    def get_data_info(self, key: int) -> dict:
        """Annotations of the image of a key."""
        return self.dataset.get_data_info(key % len(self))

    def __getitem__(self, key: int) -> Any:
        epoch, index = divmod(key, len(self))
        seed = derive(_AUGMENTATION, self.seed, epoch, index)
        random.seed(seed)
        np.random.seed(seed)
        return self.dataset[index]


@DATA_SAMPLERS.register_module()
class ReplayableSampler(Sampler[int]):
    """Keys of a :class:`ReplayableDataset` in an order that follows from (seed, epoch).

    Each of n ranks takes every n-th key of one order, so the images of a global batch do not depend
    on the number of processes. (With grouping by aspect ratio they do, unless a batch sampler takes
    the complete order and divides each batch; see :meth:`take_all`.)

    Args:
        dataset: The data set to sample.
        seed: Seed of the order and of the data set's augmentation.
        endless: Yield one stream over all epochs, for iteration-based loops, not single epochs.
    """

    def __init__(self, dataset: ReplayableDataset, seed: int | None = None, endless: bool = False):
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.dataset.seed = self.seed = int(seed or 0)
        self.endless = endless
        self.epoch = 0
        self.skipped = 0

    def __iter__(self) -> Iterator[int]:
        skipped, self.skipped = self.skipped, 0
        keys = self._stream() if self.endless else self._own_share(self.epoch)
        yield from islice(keys, skipped, None)

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the next epoch."""
        self.epoch = epoch

    def take_all(self) -> None:
        """Yield the complete order in every process; the batch sampler divides the batches."""
        self.rank, self.world_size = 0, 1

    def skip(self, samples: int) -> None:
        """Start the next epoch after this many samples of this rank, without loading them."""
        self.skipped = samples

    def _stream(self) -> Iterator[int]:
        epoch = 0
        while True:
            yield from self._own_share(epoch)
            epoch += 1

    def _own_share(self, epoch: int) -> Iterator[int]:
        generator = np.random.default_rng([_ORDER, self.seed, epoch])
        order = generator.permutation(len(self.dataset))
        # As in MMEngine's sampler, images are repeated until all ranks have equally many.
        order = np.resize(order, len(self) * self.world_size)
        first = epoch * len(self.dataset)
        return iter((first + order[self.rank :: self.world_size]).tolist())


@dataclass(frozen=True)
class Now:
    """The current iteration.

    Attributes:
        seed: Seed of the training.
        iteration: Its number.
        rank: Rank of this process.
        world_size: Processes that train together.
    """

    seed: int = 0
    iteration: int = -1
    rank: int = 0
    world_size: int = 1

    def seed_of(self, image: int, stage: int) -> int:
        """A seed for one image of the batch, whichever process has the image.

        Args:
            image: Its number in this process's part of the batch.
            stage: Distinguishes several draws for one image.
        """
        place = self.rank + self.world_size * image  # as ResumableBatchSampler divides batches
        return derive(_PLACE, self.seed, self.iteration, place, stage)


_now = Now()


def now() -> Now:
    """The current iteration of this process."""
    return _now


@HOOKS.register_module()
class SeedIterations(Hook):
    """Before each iteration, seed every generator from (seed, iteration, rank)."""

    priority = "VERY_HIGH"

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Seed Python, NumPy and torch, CUDA included."""
        global _now
        _now = Now(runner.seed or 0, runner.iter, *get_dist_info())
        seed = derive(_ITERATION, runner.seed or 0, runner.iter, runner.rank)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
