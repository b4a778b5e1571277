"""What happens to trainings that run for days: each fault is provoked, reported, and survived.

The trainings are of a network of one layer, with the runner, the loop, the loader and the states of
the real ones; the last tests run a cell.
"""

import contextlib
import itertools
import os
import re
import resource
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import default_collate

from backbones.common.atomic_write import write_atomically
from backbones.common.errors import BrokenProcess, Untrusted, UserError
from backbones.runtime import checkpoint, loop, memory, stopping  # noqa: F401  (registers)
from backbones.runtime.checkpoint import ResumableState
from backbones.runtime.faults import explained
from backbones.runtime.progress import Curve
from backbones.runtime.randomness import ReplayableDataset
from backbones.runtime.runner import quiet_runner
from tests.support import processes
from tests.support.suites import EventLog, quick_suite, schedule, tasks_of
from transfer.records import lease as leasing
from transfer.records.lease import Leases
from transfer.scheduling import worker

STEPS, WIDTH = 12, 200  # a state has two times 160 kB


class Noise:
    """Images of noise; one of them may do something to whoever reads it."""

    metainfo: dict = {}  # noqa: RUF012

    def __init__(self, trap=None):
        self.trap = trap

    def full_init(self):
        pass

    def __len__(self):
        return 24

    def __getitem__(self, index):
        if self.trap and index == 7:
            self.trap()
        return torch.from_numpy(np.random.rand(WIDTH).astype(np.float32))


class Net(BaseModel):
    """One layer behind dropout, so that every random state counts."""

    def __init__(self, act=None):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.act = act

    def forward(self, images, mode="tensor"):
        if self.act:
            self.act()
        return {"loss": self.layer(nn.functional.dropout(images)).square().mean()}

    def train_step(self, data, optim_wrapper):
        losses = self(data)
        optim_wrapper.update_params(losses["loss"])
        return losses


class At(Hook):
    """Does something before an iteration."""

    def __init__(self, iteration, act):
        self.iteration, self.act = iteration, act

    def before_train_iter(self, runner, *_, **__):
        if runner.iter == self.iteration:
            self.act()


def runner_of(
    folder,
    *hooks,
    net=None,
    data=None,
    workers=0,
    lr=0.1,
    minutes=0.0,
    states=None,
    accumulates=1,
):
    torch.manual_seed(0)
    state = ResumableState(str(states or folder / "state"), "it", minutes)
    return quiet_runner(
        model=net or Net(),
        work_dir=str(folder),
        seed=3,
        train_dataloader={
            "dataset": ReplayableDataset(data or Noise()),
            "sampler": {"type": "ReplayableSampler", "endless": True},
            "batch_sampler": {"type": "ResumableBatchSampler"},
            "batch_size": 4,
            "num_workers": workers,
            "collate_fn": default_collate,
        },
        train_cfg={"type": "ResumableTrainLoop", "max_iters": STEPS},
        optim_wrapper={
            "optimizer": {"type": "SGD", "lr": lr, "momentum": 0.9},
            "accumulative_counts": accumulates,
        },
        param_scheduler=[{"type": "PolyLR", "by_epoch": False, "end": STEPS}],
        default_hooks={"checkpoint": None, "logger": {"type": "LoggerHook", "interval": 1}},
        custom_hooks=[{"type": "SeedIterations"}, state, Curve(), *hooks],
    )


def trained(folder, *hooks, **options):
    """The weights that a training ends with."""
    runner = runner_of(folder, *hooks, **options)
    runner.train()
    return runner.model.layer.weight.detach().clone()


@pytest.fixture
def calm(tmp_path):
    """The weights of the same training with nothing happening to it."""
    return trained(tmp_path / "calm")


def mounted(folder, *options):
    """A file system in memory of its own; the test is skipped where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    with contextlib.suppress(OSError):
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return folder
    return None


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    folder = mounted(tmp_path / "disk", "size=1m")
    if folder is None:
        pytest.skip("no file system may be mounted here; the limit on files is tried instead")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def read_only_disk(tmp_path):
    folder = mounted(tmp_path / "disk", "size=1m", "ro")
    if folder is None:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk, leave=0):
    """Take what room there is."""
    path = disk / "filler"
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    if leave:
        os.truncate(path, path.stat().st_size - leave)
    return path


@contextlib.contextmanager
def limit_on_files(size):
    """The kernel refuses to write beyond this many bytes of any file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- Disks ----------------------------------------------------------------------------------------


def test_a_disk_that_fills_up_while_a_state_is_written_costs_nothing(small_disk, tmp_path, calm):
    """The first state has room, the second beside it has not: the first is gone on from."""
    with pytest.raises(UserError, match=r"could not be written to .*the last complete one is kept"):
        trained(small_disk, At(1, lambda: fill(small_disk, leave=200_000)))
    state = checkpoint.load_state(small_disk / "state", "it")
    assert state["iteration"] < STEPS
    assert not (small_disk / "state" / "state.pt.new").exists()
    (small_disk / "filler").unlink()
    resumed = trained(tmp_path / "more", states=small_disk / "state", minutes=60.0)
    assert torch.equal(resumed, calm)


def test_a_state_that_may_not_be_that_long_costs_nothing(tmp_path, calm):
    with limit_on_files(200_000), pytest.raises(UserError, match="could not be written"):
        trained(tmp_path / "work")
    left = [path.name for path in (tmp_path / "work" / "state").iterdir()]
    assert left == ["state.pt"], "the first, which has no momenta yet"
    assert torch.equal(trained(tmp_path / "work"), calm)


def test_a_log_without_room_is_said_once_and_the_training_goes_on(
    small_disk, tmp_path, calm, capfd
):
    states = tmp_path / "states"
    ended = trained(small_disk, At(2, lambda: fill(small_disk)), states=states)
    assert torch.equal(ended, calm)
    printed = capfd.readouterr().err
    assert printed.count("log.txt' cannot be written ([Errno 28] No space left on device)") == 1
    assert "Traceback" not in printed


def test_any_other_file_without_room_is_one_sentence(tmp_path):
    def write():
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"a")

    with pytest.raises(UserError, match=r"is full; the last checkpoint is kept"):
        trained(tmp_path, At(3, write))
    assert checkpoint.load_state(tmp_path / "state", "it")["iteration"] == 3


def test_a_record_without_room_is_there_whole_or_not_at_all(small_disk):
    write_atomically(small_disk / "a.json", b"before")
    filler = fill(small_disk)
    with pytest.raises(UserError, match=r"a.json' could not be written \(No space left"):
        write_atomically(small_disk / "a.json", bytes(100_000))
    assert (small_disk / "a.json").read_bytes() == b"before"
    assert {path.name for path in small_disk.iterdir()} == {"a.json", filler.name}
    filler.unlink()
    write_atomically(small_disk / "a.json", bytes(100_000))


def test_a_lease_without_room_is_one_sentence_and_is_given_back_all_the_same(small_disk):
    leases = Leases(small_disk / "leases")
    lease = leases.take("one")
    filler = fill(small_disk)
    with pytest.raises(UserError, match=r"No cell can be taken in .*No space left"):
        leases.take("two")
    lease.give_back()
    filler.unlink()
    assert {path.name for path in leases.folder.iterdir()} == {"one.001.lease"}
    assert leases.take("two")
    assert leases.take("one").path.name == "one.002.lease", "by the process that gave it back"


def test_a_lease_given_back_without_room_is_free_for_others_when_there_is_room(
    small_disk, monkeypatch
):
    monkeypatch.setattr(leasing, "BEAT_SECONDS", 0.05)
    leases = Leases(small_disk / "leases")
    leases.take("one").give_back()  # the second generation is given back without room
    lease = leases.take("one")
    filler = fill(small_disk)
    lease.give_back()
    before = lease.path.read_text()
    time.sleep(0.3)
    assert lease.path.read_text() == before, "no room yet: others see an owner that lives"
    filler.unlink()
    until = time.monotonic() + 20
    while lease.path.read_text() == before and time.monotonic() < until:
        time.sleep(0.05)
    look = (
        "from pathlib import Path; from transfer.records.lease import Leases;"
        f"print(Leases(Path({str(leases.folder)!r})).take('one').path.name)"
    )
    assert processes.alone(look).stdout.strip() == "one.003.lease"


@pytest.mark.slow
def test_a_cell_that_fails_on_a_full_disk_is_tried_again_when_there_is_room(
    small_disk, tmp_path, cache, monkeypatch
):
    monkeypatch.setenv("TRANSFER_CACHE", str(cache))
    (task,) = tasks_of(quick_suite(tmp_path, cache, tasks=["segmentation"]), tmp_path)
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04 cut short")
    cell = replace(task.cell, weights=str(tmp_path / "cut.pth"), weights_id="")
    task = replace(task, cell=cell, results=small_disk / "results")

    def fill_and_make_room(event, *_):
        if event == "started":
            fill(small_disk)
        elif event == "failed":
            (small_disk / "filler").unlink()

    watcher = EventLog(fill_and_make_room)
    patience = threading.Timer(120, stopping.request)
    patience.start()
    try:
        with stopping.on_signals():
            tally = schedule([task], watcher, retry=1).run()
    except KeyboardInterrupt:
        pytest.fail("it waits for ever")
    finally:
        patience.cancel()
    assert watcher.of("started") == [task.name] * 2
    ((_, reason),) = tally.failed
    assert "cut.pth' could not be read as weights" in reason


def take_over(lease):
    """What another machine does that has long seen no beat of a lease."""
    owner = replace(lease.owner, machine="elsewhere", host="elsewhere", pid=1)
    with contextlib.suppress(FileExistsError):
        leasing._write_beside(lease._next(), owner, os.link)


def held_in(folder):
    """The one lease that this process holds there."""
    (lease,) = [lease for lease in leasing._heart.held if lease.path.parent == folder]
    return lease


@pytest.mark.parametrize("minutes", [0.0, 60.0])
def test_a_training_whose_lease_was_taken_over_writes_no_state_and_leaves(
    minutes, tmp_path, monkeypatch
):
    """At a state that is due it is seen at once, else at the next beat."""
    if minutes:
        monkeypatch.setattr(leasing, "BEAT_SECONDS", 0.05)
    leases = Leases(tmp_path / "leases")
    lease = leases.take("cell")

    def be_suspended():
        take_over(lease)
        time.sleep(0.3 if minutes else 0.0)

    with pytest.raises(stopping.Superseded), leasing.owned(lease):
        trained(tmp_path / "work", At(5, be_suspended), minutes=minutes)
    state = checkpoint.load_state(tmp_path / "work" / "state", "it")
    assert (state and state["iteration"]) == (None if minutes else 5)
    assert leases.holder("cell").host == "elsewhere"
    assert not stopping.superseded(), "what this process does next is its own"


def test_folders_that_can_only_be_read_are_one_sentence(read_only_disk, tmp_path, cache):
    from transfer.finetune.cell_run import run_cell

    with pytest.raises(UserError, match=r"No cell can be taken in .*Read-only file system"):
        Leases(read_only_disk / "leases").take("one")
    with pytest.raises(UserError, match=r"could not be written \(Read-only file system"):
        write_atomically(read_only_disk / "records" / "a.json", b"")
    (task,) = tasks_of(quick_suite(tmp_path, cache, tasks=["segmentation"]), read_only_disk)
    with pytest.raises(UserError, match=r"work folder .* is not writable \(Read-only"):
        run_cell(task)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_of_a_state_that_is_cut_short_the_one_before_it_serves(share, tmp_path, calm):
    def stop():
        stopping.request()

    with stopping.on_signals(), pytest.raises(stopping.Interrupted):
        trained(tmp_path / "work", At(5, stop))
    path = tmp_path / "work" / "state" / "state.pt"
    before = checkpoint.load_state(path.parent, "it")["iteration"]
    os.truncate(path, int(share * path.stat().st_size))
    assert checkpoint.load_state(path.parent, "it")["iteration"] == before - 1
    assert torch.equal(trained(tmp_path / "work"), calm)


def test_where_no_state_is_whole_the_training_starts_anew(tmp_path, calm):
    (tmp_path / "work" / "state").mkdir(parents=True)
    for name in ("state.pt", "state-previous.pt"):
        (tmp_path / "work" / "state" / name).write_bytes(b"PK\3\4 cut short")
    assert torch.equal(trained(tmp_path / "work"), calm)


def test_a_state_of_something_else_under_our_name_is_one_sentence(tmp_path):
    checkpoint.save_checkpoint(tmp_path / "state", {"identity": "it", "model": {}, "iteration": 1})
    with pytest.raises(UserError, match="does not belong to this training"):
        trained(tmp_path)


@pytest.mark.parametrize("iteration", ["7", -1, 2.0, True, None, float("nan"), [3], "missing"])
def test_of_a_checkpoint_with_an_odd_iteration_the_one_before_it_serves(iteration, tmp_path, calm):
    with stopping.on_signals(), pytest.raises(stopping.Interrupted):
        trained(tmp_path / "work", At(5, stopping.request))
    folder = tmp_path / "work" / "state"
    last = checkpoint.load_state(folder, "it")
    odd = {**last, "iteration": iteration}
    if iteration == "missing":
        del odd["iteration"]
    checkpoint.save_checkpoint(folder, odd)
    assert checkpoint.load_state(folder, "it")["iteration"] == last["iteration"]
    assert torch.equal(trained(tmp_path / "work"), calm)


def test_a_checkpoint_from_behind_the_end_is_one_sentence(tmp_path):
    with stopping.on_signals(), pytest.raises(stopping.Interrupted):
        trained(tmp_path / "work", At(5, stopping.request))
    folder = tmp_path / "work" / "state"
    last = checkpoint.load_state(folder, "it")
    checkpoint.save_checkpoint(folder, {**last, "iteration": 10**12})
    with pytest.raises(UserError, match=r"iteration 1000000000000 of \d+"):
        trained(tmp_path / "work")


# --- Memory and processes -------------------------------------------------------------------------


def test_memory_of_the_host_that_runs_out_names_a_batch(tmp_path):
    """The allocator is really asked for 64 TB."""
    message = r"this machine ran out: a batch of 4 needs over 70\d\d\d\.\d GB"
    with pytest.raises(UserError, match=message):
        trained(tmp_path, net=Net(lambda: torch.empty(1 << 46, dtype=torch.uint8)))


def test_memory_of_a_gpu_that_runs_out_names_a_batch(tmp_path):
    def fail():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has …")

    with pytest.raises(UserError, match=r"the GPU ran out: a batch of 4 needs over 2\.7 GB"):
        trained(tmp_path, net=Net(fail))


class Holds(Hook):
    """Holds memory of its own."""

    def memory_advice(self, runner):
        return "leave it out"


@pytest.mark.parametrize("iteration", [0, 1])
def test_cudnn_without_a_plan_has_no_memory_where_it_had_one_before(tmp_path, iteration):
    """torch says the same of what cuDNN cannot do at all, which the first step would meet."""

    def fail():
        seen.append(None)
        if len(seen) > iteration:
            raise RuntimeError("GET was unable to find an engine to execute this computation")

    seen = []
    kind, message = (
        (UserError, r"the GPU ran out.*\(torchrun\), or leave it out\.$")
        if iteration
        else (RuntimeError, "^GET was unable")
    )
    with pytest.raises(kind, match=message):
        trained(tmp_path, Holds(), net=Net(fail))


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak cannot be counted anew"
)
def test_what_was_freed_does_not_count_for_the_peak_of_what_comes_next():
    done = processes.alone(
        "import torch; from backbones.runtime import allocation, memory\n"
        "assert allocation.keep_freed_memory()\n"
        "def peak(mebibytes):\n"
        "    of = memory.PeakMemory()\n"
        "    torch.ones(mebibytes, 1 << 18)\n"
        "    return of.peaks()['host'] >> 20\n"
        "large, small = peak(600), peak(10)\n"
        "assert large - small > 500, (large, small)\n"
    )
    assert done.returncode == 0, done.stderr


def trained_with_a_killed_worker(folder):
    """What the training says whose loader worker is killed while it reads an image."""

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    try:
        trained(folder, data=Noise(die), workers=1)
    except UserError as error:
        return str(error)
    return "nothing"


def test_a_loader_worker_that_is_killed_is_named_and_the_training_goes_on_later(tmp_path, calm):
    # In a process of its own, as a cell is: torch's handler raises in whatever runs just then.
    program = (
        f"import sys; sys.path.append({str(Path(__file__).parent)!r}); from pathlib import Path;"
        "from test_faults import trained_with_a_killed_worker as trained;"
        f"print(trained(Path({str(tmp_path / 'work')!r})))"
    )
    done = processes.alone(program)
    message = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr
    assert re.match(r"A loader worker( \(process \d+\))? was killed", message), message
    resumed = trained(tmp_path / "work", workers=1)
    assert torch.equal(resumed, calm)


# --- Numbers, clocks, signals ---------------------------------------------------------------------


def test_a_loss_that_is_no_number_names_iteration_state_and_a_way_out(tmp_path):
    with pytest.raises(UserError) as caught:
        trained(tmp_path, lr=1e15)
    message = str(caught.value)
    state = checkpoint.load_state(tmp_path / "state", "it")
    assert "the training diverged" in message
    assert f"of iteration {state['iteration']}, is in '{tmp_path / 'state'}'" in message
    assert "lower the learning rate" in message
    assert all(torch.isfinite(weight).all() for weight in state["model"].values())


def test_a_clock_that_is_set_back_changes_nothing(tmp_path, calm, monkeypatch):
    """By a day, before every iteration."""
    real, back = time.time, []
    monkeypatch.setattr(time, "time", lambda: real() - 86_400 * len(back))

    class SetBack(Hook):
        def before_train_iter(self, *_, **__):
            back.append(1)

    curve = Curve()
    assert torch.equal(trained(tmp_path / "work", SetBack(), curve), calm)
    assert len(back) == STEPS
    assert curve.seconds >= 0
    assert checkpoint.load_state(tmp_path / "work" / "state", "it")["iteration"] == STEPS


def test_a_finished_training_is_kept_without_momenta_and_is_not_gone_on_with(tmp_path, calm):
    trained(tmp_path / "work")
    state = checkpoint.load_state(tmp_path / "work" / "state", "it")
    assert (state["iteration"], state["optimizer"]) == (STEPS, None)
    assert torch.equal(trained(tmp_path / "work"), calm)
    checkpoint.save_checkpoint(tmp_path / "work" / "state", {**state, "iteration": 5})
    with pytest.raises(UserError, match="no momenta, but steps remain"):
        trained(tmp_path / "work")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("iteration", [0, 5, 10])
def test_after_sigterm_the_state_is_saved_and_the_result_is_the_same(
    iteration, workers, tmp_path, calm
):
    """The scheduler's warning; no state was due by the clock."""

    def warn():
        os.kill(os.getpid(), signal.SIGTERM)

    with stopping.on_signals(), pytest.raises(stopping.Interrupted, match="run again to resume"):
        trained(tmp_path / "work", At(iteration, warn), workers=workers, minutes=60.0)
    saved = checkpoint.load_state(tmp_path / "work" / "state", "it")["iteration"]
    assert saved - iteration in (0, 1)
    assert torch.equal(trained(tmp_path / "work", workers=workers, minutes=60.0), calm)


@pytest.mark.parametrize("iteration", [4, 5, 7])
def test_gradients_that_are_being_accumulated_are_not_lost(iteration, tmp_path):
    """A state holds none: it is taken, and a training left, where a step has just been done."""
    several = {"accumulates": 4, "minutes": 60.0}
    calm = trained(tmp_path / "calm", **several)
    with stopping.on_signals(), pytest.raises(stopping.Interrupted):
        trained(tmp_path / "work", At(iteration, stopping.request), **several)
    assert torch.equal(trained(tmp_path / "work", **several), calm)


# --- A cell ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["train", "evaluate"])
def test_a_cell_that_was_taken_over_leaves_nothing_of_its_own(phase, tmp_path, cache, monkeypatch):
    from transfer.finetune.cell_run import run_cell

    monkeypatch.setenv("TRANSFER_CACHE", str(cache))
    (task,) = tasks_of(quick_suite(tmp_path, cache, tasks=["segmentation"]), tmp_path)

    def listen(current, done, total):
        if current == phase:
            take_over(held_in(task.work_leases))

    with pytest.raises(stopping.Superseded):
        run_cell(task, listen)
    assert not task.results.exists()
    assert not (task.place / "outcomes.npz").exists()
    finished = (task.place / "state" / "state.pt").exists()
    assert finished == (phase == "evaluate"), "the training had ended while the cell was ours"


def test_a_record_is_not_written_once_the_cell_was_taken_over(tmp_path):
    from transfer.finetune.cell_run import _write

    (tmp_path / "outcomes.npz").touch()
    lease = Leases(tmp_path / "leases").take("cell")
    take_over(lease)
    with pytest.raises(stopping.Superseded), leasing.owned(lease):
        _write(None, tmp_path / "cell.json", {}, tmp_path / "outcomes.npz")
    assert not list(tmp_path.glob("cell.*"))


def test_a_classifier_that_was_taken_over_is_left_to_the_other(small_sample, monkeypatch):
    from transfer.finetune.classifiers import train_on_sample

    monkeypatch.setattr(leasing, "BEAT_SECONDS", 0.05)

    def listen(current, done, total):
        take_over(held_in(place / "leases"))
        time.sleep(0.2)

    place = small_sample.parent / "classifiers" / "sample"
    with pytest.raises(stopping.Superseded):
        train_on_sample("resnet18_baseline", 0, listen)
    assert [path for path in place.rglob("*") if path.suffix in (".safetensors", ".pt")] == []


def test_a_record_that_cannot_be_written_does_not_cost_the_training(tmp_path, cache):
    from transfer.finetune.cell_run import run_cell

    (task,) = tasks_of(quick_suite(tmp_path, cache, tasks=["segmentation"]), tmp_path)
    task.results.write_text("a file where the folder should be")
    with pytest.raises(UserError, match="could not be written"):
        run_cell(task)
    task.results.unlink()
    record = run_cell(task)
    log = (task.place / "log.txt").read_text()
    assert "resumed at iteration 1 of 1" in log, "the finished training was kept"
    assert record.exists()
    assert not (task.place / "state").exists()


def test_states_of_a_training_that_cannot_be_trusted_are_removed(tmp_path, cache, monkeypatch):
    """Else the same command would go on from what may be wrong, and record it."""
    from transfer.finetune import cell_run

    (task,) = tasks_of(quick_suite(tmp_path, cache, tasks=["segmentation"]), tmp_path)
    task = replace(task, storage=f"file://{tmp_path / 'elsewhere'}")
    copy = Path(task.state_copy.removeprefix("file://"))

    def finetune(cfg, identity, place, **options):
        for path in (place / "state" / "state.pt", copy):
            path.parent.mkdir(parents=True)
            path.write_bytes(b"of wrong boxes")
        raise Untrusted("it cannot be trusted")

    monkeypatch.setattr(cell_run, "finetune", finetune)
    with pytest.raises(Untrusted):
        cell_run.run_cell(task)
    assert not copy.exists()
    assert not (task.place / "state").exists()


def test_a_kill_between_the_removal_of_states_leaves_those_that_tell_of_the_copy(
    tmp_path, monkeypatch
):
    from transfer.finetune import cell_run

    def be_killed(address):
        raise KeyboardInterrupt

    state = tmp_path / "state" / "state.pt"
    state.parent.mkdir()
    state.touch()
    monkeypatch.setattr(cell_run.storage, "forget", be_killed)
    with pytest.raises(KeyboardInterrupt):
        cell_run._remove_checkpoints(SimpleNamespace(place=tmp_path, state_copy="memory://copy.pt"))
    assert state.exists(), "the next run finds it beside the record, and removes both"


def test_readers_that_end_with_the_request_to_stop_cost_no_state(tmp_path):
    """A scheduler's signal may reach them before a batch was fetched of them."""
    runner = runner_of(tmp_path, minutes=60)

    def batches(count):
        yield from itertools.islice(iter(runner.train_dataloader), 3)
        stopping.request()
        raise RuntimeError("DataLoader worker (pid 7) exited unexpectedly")

    batches_of = contextlib.contextmanager(lambda readers, count: (yield batches(count)))
    runner.train_loop._batches = batches_of
    with stopping.on_signals(), pytest.raises(stopping.Interrupted, match="run again to resume"):
        runner.train()
    assert checkpoint.load_state(tmp_path / "state", "it")["iteration"] == 3


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("Pin memory thread exited unexpectedly"),
        RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"),
        ConnectionRefusedError(111, "Connection refused"),
    ],
)
def test_whatever_a_loader_says_of_dead_readers_is_one_sentence(fault):
    with pytest.raises(UserError, match=r"loader worker .*was killed"), explained(None):
        raise fault


@pytest.mark.parametrize(
    ("kind_of_error", "to_the_end"),
    [(BrokenProcess, True), (Untrusted, True), (UserError, False)],
)
def test_a_process_that_cannot_go_on_is_distinguished_from_a_cell_that_cannot(
    kind_of_error, to_the_end
):
    def run_cell(task, notifier):
        raise kind_of_error("a")

    kind, reason, detail = worker._run(None, None, run_cell)
    assert (kind, reason, bool(detail)) == ("failed", "a", to_the_end)


def test_a_training_does_not_take_over_how_the_one_before_it_chose_algorithms(
    tmp_path, monkeypatch
):
    products = torch.backends.cuda.matmul
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    products.allow_bf16_reduced_precision_reduction = False  # torch has True
    runner_of(tmp_path)
    assert not torch.backends.cudnn.benchmark
    assert products.allow_bf16_reduced_precision_reduction


def test_no_line_of_a_log_moves_the_cursor_of_a_terminal(tmp_path):
    runner = quiet_runner(model=Net(), work_dir=str(tmp_path), seed=0)
    runner.logger.warning("class \x1b[2J\x9b1A\u202e of\n\ta stranger")
    (line,) = [line for line in (tmp_path / "log.txt").read_text().splitlines() if "class" in line]
    assert line.endswith(r"class \x1b[2J\x9b1A\u202e of")
