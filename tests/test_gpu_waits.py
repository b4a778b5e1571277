"""What keeps a GPU from waiting for the host and the host for it, as far as the CPU can show it."""

import contextlib
import threading
import time

import pytest
import torch
from mmengine.structures import InstanceData

from backbones.runtime import late_scalars
from backbones.runtime.ahead import Ahead
from backbones.runtime.late_scalars import LateScalars
from transfer import openmmlab  # noqa: F401
from transfer.bench.breakdown import Stopwatch
from transfer.engine import non_blocking_inputs
from transfer.engine.placed_sampler import first_of_permutation

from mmdet.structures import DetDataSample  # isort: skip


def scalars(loss):
    return {"loss": torch.tensor(loss), "acc": torch.tensor([50.0])}


def test_scalars_of_the_cpu_are_told_at_once():
    late = LateScalars()
    assert late.add("first", scalars(1.5)) == [("first", {"loss": 1.5, "acc": 50.0})]
    assert late.flush() == []


def test_scalars_of_a_gpu_are_told_a_step_later_and_none_is_lost(monkeypatch):
    class Event:
        def record(self):
            self.recorded = True

        def synchronize(self):
            assert self.recorded

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(late_scalars, "_is_of_gpu", lambda tensor: True)
    late = LateScalars()
    assert late.add(1, scalars(1.0)) == []
    assert late.add(2, scalars(2.0)) == [(1, {"loss": 1.0, "acc": 50.0})]
    assert late.flush() == [(2, {"loss": 2.0, "acc": 50.0})]
    assert late.flush() == []


def test_items_taken_ahead_are_the_same_in_the_same_order():
    assert list(Ahead(iter(range(50)))) == list(range(50))


def test_the_next_item_is_taken_while_one_is_worked_on():
    taken = []

    def items():
        for number in range(3):
            taken.append(number)
            yield number

    with contextlib.closing(Ahead(items())) as ahead:
        assert next(ahead) == 0
        deadline = time.monotonic() + 5
        while len(taken) < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert taken[:2] == [0, 1]


def test_what_an_iterator_raises_comes_in_its_place():
    def items():
        yield 1
        raise RuntimeError("a reader died")

    ahead = Ahead(items())
    assert next(ahead) == 1
    with pytest.raises(RuntimeError, match="a reader died"):
        next(ahead)
    assert list(ahead) == []


def test_closed_early_it_takes_no_more_and_leaves_no_thread():
    def items():
        number = 0
        while True:
            yield number
            number += 1

    before = threading.active_count()
    with contextlib.closing(Ahead(items())) as ahead:
        assert next(ahead) == 0
    assert threading.active_count() == before


def test_the_stopwatch_times_the_main_thread_alone():
    watch = Stopwatch()
    timed = watch._timed(lambda: time.sleep(0.02), "load")
    thread = threading.Thread(target=timed)
    thread.start()
    thread.join()
    assert watch.seconds == {}
    timed()
    assert watch.seconds["load"] >= 0.02


@pytest.mark.parametrize(("count", "first"), [(2, 1), (10, 9), (1000, 256), (120_000, 511)])
def test_the_first_of_a_permutation_are_torchs_own(count, first):
    for seed in range(20):
        torch.manual_seed(seed)
        expected = torch.randperm(count)[:first]
        torch.manual_seed(seed)
        assert torch.equal(first_of_permutation(count, first), expected)


def a_batch():
    sample = DetDataSample(metainfo={"img_shape": (4, 6)})
    sample.gt_instances = InstanceData(bboxes=torch.rand(2, 4), labels=torch.tensor([1, 2]))
    return {"inputs": [torch.rand(3, 4, 6)], "data_samples": [sample]}


@pytest.mark.parametrize("elements_stay", [True, False])
def test_a_batch_is_sent_as_it_is(monkeypatch, elements_stay):
    from mmengine.model import BaseDataPreprocessor

    sent = []
    monkeypatch.setattr(
        non_blocking_inputs, "sent", lambda device, tensor: sent.append(tensor) or tensor + 0
    )
    preprocessor = BaseDataPreprocessor()
    device = torch.device("cpu")
    plain = preprocessor.cast_data
    preprocessor.cast_data = lambda data: non_blocking_inputs._sent(
        plain, device, elements_stay, data
    )
    batch = a_batch()
    found = preprocessor.cast_data(batch)
    assert len(sent) == (1 if elements_stay else 3)  # the image; boxes and labels
    assert torch.equal(found["inputs"][0], batch["inputs"][0])
    (sample,) = found["data_samples"]
    assert sample.img_shape == (4, 6)
    assert torch.equal(sample.gt_instances.bboxes, batch["data_samples"][0].gt_instances.bboxes)
    assert (sample is batch["data_samples"][0]) == elements_stay
