"""What keeps a GPU from waiting for the host and the host for it, as far as the CPU can show it."""

import contextlib
import copy
import threading
import time
import types

import pytest
import torch
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData

from backbones.runtime import late_scalars
from backbones.runtime.ahead import Ahead
from backbones.runtime.late_scalars import LateScalars
from backbones.runtime.runner import QuietRunner
from transfer import openmmlab  # noqa: F401
from transfer.bench.breakdown import Stopwatch
from transfer.protocols.placed_sampler import first_of_permutation
from transfer.speed import non_blocking_inputs
from transfer.speed.part import Inactive

from mmdet.models.data_preprocessors import DetDataPreprocessor  # isort: skip
from mmdet.structures import DetDataSample  # isort: skip
from mmseg.models.data_preprocessor import SegDataPreProcessor  # isort: skip


def scalars(loss):
    return {"loss": torch.tensor(loss), "acc": torch.tensor([50.0])}


def test_scalars_of_the_cpu_are_reported_at_once():
    late = LateScalars()
    assert late.add("first", scalars(1.5)) == [("first", {"loss": 1.5, "acc": 50.0})]
    assert late.flush() == []


def test_scalars_of_a_gpu_are_reported_a_step_later_and_none_is_lost(monkeypatch):
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


@pytest.mark.parametrize("workers", [4, 0])
def test_images_of_other_processes_are_pinned_by_the_loader(monkeypatch, workers):
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    loader = types.SimpleNamespace(num_workers=workers, pin_memory=False)
    runner = types.SimpleNamespace(train_loop=types.SimpleNamespace(dataloader=loader))
    non_blocking_inputs.NonBlockingInputs().before_train(runner)
    assert loader.pin_memory == (workers > 0)


def test_on_the_cpu_batches_are_copied_as_before():
    preprocessor = DetDataPreprocessor()
    model = types.SimpleNamespace(data_preprocessor=preprocessor, parameters=lambda: iter(()))
    with pytest.raises(Inactive, match="CPU"):
        non_blocking_inputs.NonBlockingInputs().install(types.SimpleNamespace(model=model))
    assert "cast_data" not in vars(preprocessor)


def a_batch():
    sample = DetDataSample(metainfo={"img_shape": (4, 6)})
    sample.gt_instances = InstanceData(bboxes=torch.rand(2, 4), labels=torch.tensor([1, 2]))
    sample.gt_sem_seg = PixelData(data=torch.randint(0, 3, (1, 4, 6)))
    return {
        "inputs": [torch.randint(0, 256, (3, 4, 6), dtype=torch.uint8)],
        "data_samples": [sample],
    }


@pytest.mark.parametrize("elements_stay", [True, False])
@pytest.mark.parametrize("bgr_to_rgb", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_is_sent_as_it_is(monkeypatch, elements_stay, bgr_to_rgb, training):
    sent = []
    monkeypatch.setattr(
        non_blocking_inputs, "sent", lambda device, tensor: sent.append(tensor) or tensor + 0
    )
    own = {"bgr_to_rgb": bgr_to_rgb, "mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]}
    masks = {"size": (8, 8)} if training else {}
    for plain, ours in (
        [DetDataPreprocessor(**own, pad_size_divisor=8) for _ in range(2)],
        [SegDataPreProcessor(**own, **masks) for _ in range(2)],
    ):
        for _ in range(2):  # of a training and of the evaluation after it
            non_blocking_inputs.send_through(ours, torch.device("cpu"), elements_stay)
        batch = a_batch()
        expected, found = (each(copy.deepcopy(batch), training) for each in (plain, ours))
        assert len(sent) == (1 if elements_stay else 4)  # the image; boxes, labels and mask
        sent.clear()
        assert torch.equal(found["inputs"], expected["inputs"])
        (sample,), (wanted,) = found["data_samples"], expected["data_samples"]
        assert sample.img_shape == wanted.img_shape
        assert torch.equal(sample.gt_instances.bboxes, wanted.gt_instances.bboxes)
        assert torch.equal(sample.gt_sem_seg.data, wanted.gt_sem_seg.data)


@pytest.mark.parametrize("fails", [True, False])
def test_threads_are_given_back_however_a_training_ends(fails, monkeypatch):
    def train(runner):
        torch.set_num_threads(1)
        if fails:
            raise ValueError("it failed")

    monkeypatch.setattr(Runner, "train", train)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(ValueError, match="it failed") if fails else contextlib.nullcontext():
            QuietRunner.__new__(QuietRunner).train()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
