import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from backbones.runtime.loop import ResumableBatchSampler
from backbones.runtime.randomness import ReplayableDataset, ReplayableSampler, SeedIterations
from tests.support.draws import Draws


def loader(seed=0, workers=0, endless=False, batch=4, length=10):
    dataset = ReplayableDataset(Draws(length))
    sampler = ReplayableSampler(dataset, seed=seed, endless=endless)
    batches = ResumableBatchSampler(sampler, batch)
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=list,
        persistent_workers=workers > 0,
        worker_init_fn=lambda _: np.random.seed(1),  # MMEngine's constant
    )


def epochs(data, count=2):
    drawn = []
    for epoch in range(count):
        data.batch_sampler.sampler.set_epoch(epoch)
        drawn.append([item for batch in data for item in batch])
    return drawn


def test_draws_depend_on_seed_epoch_and_image_alone():
    first, second = epochs(loader(seed=3))
    assert sorted(i for i, *_ in first) == list(range(10))
    assert [i for i, *_ in first] != [i for i, *_ in second]
    drawn = {i: rest for i, *rest in first}
    assert all(drawn[i] != rest for i, *rest in second), "every epoch draws anew"
    assert len({tuple(rest) for _, *rest in first}) == 10, "every image draws its own"
    assert epochs(loader(seed=4))[0] != first


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_does_not_matter(workers):
    assert epochs(loader(workers=workers)) == epochs(loader())


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("endless", [False, True])
def test_a_resumed_pass_goes_on_where_it_was(endless, workers):
    def batches(data, count):
        return [batch for batch, _ in zip(data, range(count), strict=False)]

    whole = batches(loader(endless=endless, length=16), 4)
    resumed = loader(endless=endless, length=16, workers=workers)
    resumed.batch_sampler.skip(2)
    assert batches(resumed, 2) == whole[2:]


def test_batches_by_aspect_ratio_are_all_there():
    sampler = ReplayableSampler(ReplayableDataset(Draws(22)), seed=0)
    kept = list(ResumableBatchSampler(sampler, 4, by_aspect_ratio=True))
    assert sorted(key for batch in kept for key in batch) == list(range(22))
    assert len(kept) == len(ResumableBatchSampler(sampler, 4)) == 6
    tall = {key for key in range(22) if key % 3 == 0}
    mixed = [batch for batch in kept if tall & set(batch) and set(batch) - tall]
    assert len(mixed) <= 1, "only what is left over is mixed"
    dropped = list(ResumableBatchSampler(sampler, 4, drop_last=True, by_aspect_ratio=True))
    assert [len(batch) for batch in dropped] == [4] * 5


def test_ranks_share_the_global_batch(monkeypatch):
    dataset = ReplayableDataset(Draws(12))
    alone = list(ReplayableSampler(dataset, seed=5))
    shares = []
    for rank in range(2):
        monkeypatch.setattr("backbones.runtime.randomness.get_dist_info", lambda r=rank: (r, 2))
        shares.append(list(ReplayableSampler(dataset, seed=5)))
    for start in range(0, 12, 4):
        both = shares[0][start // 2 : start // 2 + 2] + shares[1][start // 2 : start // 2 + 2]
        assert sorted(both) == sorted(alone[start : start + 4])


def test_iterations_are_seeded_by_their_number():
    class Runner:
        seed, iter, rank = 7, 3, 0

    def draws():
        SeedIterations().before_train_iter(Runner, 0)
        return random.random(), np.random.rand(), torch.rand(1).item(), torch.randperm(5).tolist()

    first = draws()
    torch.rand(100)
    assert draws() == first
    Runner.iter = 4
    assert draws() != first
