"""What a schedule makes of what its workers say; the workers follow a script and train nothing."""

import errno
import io
import os
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from backbones.common.errors import UserError
from backbones.runtime import state_files, stopping
from backbones.zoo import zoo
from tests.support import synthetic
from transfer.cli import dry_run
from transfer.plan.durations import Durations
from transfer.records import failures, records
from transfer.records import lease as leasing
from transfer.records.cells import Task
from transfer.records.lease import Leases
from transfer.scheduling import schedule
from transfer.scheduling.room import Room
from transfer.scheduling.schedule import Schedule, leases_of, record_path
from transfer.scheduling.view import SuiteView


def record(task):
    records.write(record_path(task), synthetic.content(task.cell, 50.0))
    return ("done",)


class Scripted:
    """An executor whose workers answer each attempt at a cell as planned, or finish it.

    Args:
        answers: By seed of a cell, for each attempt a message, or what makes one of the task.
    """

    def __init__(self, answers):
        self.answers = defaultdict(list, answers)
        self.started, self.handed = [], []

    def start(self, number):
        self.started.append(Worker(self))
        return self.started[-1]

    def wait(self, workers, seconds):
        pass


class Worker:
    where = "here"

    def __init__(self, executor):
        self.executor = executor
        self.owner = os.getpid()
        self.said = []
        self.killed = False

    def hand(self, task):
        self.executor.handed.append((task.cell.seed, self))
        left = self.executor.answers[task.cell.seed]
        answer = left.pop(0) if left else record
        self.said.append(answer(task) if callable(answer) else answer)

    def messages(self):
        said, self.said = self.said, []
        return [message for message in said if message]

    def stop(self):
        self.said.append(("stopped",))

    def kill(self):
        self.killed = True


class Silent:
    """A watcher that keeps the events of single cells."""

    def __init__(self):
        self.events = []

    def __getattr__(self, name):
        def tell(task, *rest):
            if name != "refresh":
                self.events.append((name, task.cell.seed, *rest))

        return tell


@pytest.fixture
def tasks(tmp_path):
    """Three cells."""
    return [
        Task(
            cell=synthetic.cell("resnet50_baseline", seed=seed),
            row=zoo.find("resnet50_baseline"),
            data="voc0712",
            data_root=tmp_path,
            results=tmp_path / "results",
            work_dir=tmp_path / "work",
            command="",
        )
        for seed in range(3)
    ]


def run(tasks, answers, retry=0, jobs=1):
    executor, watcher = Scripted(answers), Silent()
    tally = Schedule(tasks, jobs=jobs, retry=retry, executor=executor, watcher=watcher).run()
    return tally, executor, watcher


def test_a_cell_that_fails_is_tried_again_after_the_others_and_given_up_at_last(tasks):
    fault = ("failed", "no weights", "")
    tally, executor, watcher = run(tasks, {0: [fault] * 9, 1: [fault]}, retry=2)
    assert [seed for seed, _ in executor.handed] == [0, 1, 2, 0, 1, 0]
    assert [task.cell.seed for task in tally.done] == [2, 1]
    assert [(task.cell.seed, reason) for task, reason in tally.failed] == [(0, "no weights")]
    again = [event[-1] for event in watcher.events if event[:2] == ("failed", 0)]
    assert again == [True, True, False]
    kept = failures.read(record_path(tasks[0]))
    assert (kept.reason, kept.attempts) == ("no weights", 3)
    assert failures.read(record_path(tasks[1])) is None, "it has its record"
    assert Leases(leases_of(tasks[0])).holder(tasks[0].name) is None
    assert len(executor.started) == 1, "a sentence is no reason to start a worker anew"


def test_a_cell_whose_machine_is_lost_goes_on_first_and_no_lease_is_left(tasks):
    tally, executor, watcher = run(tasks, {0: [("lost", "its node is gone")] * 2})
    assert [seed for seed, _ in executor.handed] == [0, 0, 0, 1, 2]
    assert watcher.events.count(("left", 0)) == 2
    assert len(tally.done) == 3
    assert not leases_of(tasks[0]).exists()


@pytest.mark.parametrize("end", [("failed", "KeyError: 1", "Traceback"), ("died", "out of memory")])
def test_after_a_defect_or_a_death_there_is_a_new_worker(tasks, end):
    tally, executor, _ = run(tasks, {0: [end]})
    assert [task.cell.seed for task, _ in tally.failed] == [0]
    first, *others = [worker for _, worker in executor.handed]
    assert first.killed
    assert first not in others


def test_what_is_called_done_and_has_no_record_has_failed(tasks):
    tally, _, watcher = run(tasks, {1: [("done",)]})
    assert [task.cell.seed for task in tally.done] == [0, 2]
    ((failed, reason),) = tally.failed
    assert failed.cell.seed == 1
    assert "cannot be read" in reason
    assert ("finished", 1, True) not in watcher.events


def test_a_record_that_another_has_written_is_taken_and_the_cell_not_run(tasks):
    record(tasks[0])

    def both(task):
        record(tasks[2])
        return record(task)

    tally, executor, watcher = run(tasks, {1: [both]})
    assert [seed for seed, _ in executor.handed] == [1]
    assert {task.cell.seed for task in tally.done} == {0, 1, 2}
    assert [event for event in watcher.events if event[0] == "finished"] == [
        ("finished", 1, True),
        ("finished", 2, False),
    ]


def test_a_request_to_stop_lets_the_running_cell_save_and_frees_it(tasks):
    def ask(_):
        stopping.request()

    with stopping.on_signals(), pytest.raises(KeyboardInterrupt):
        run(tasks, {0: [ask]})
    assert Leases(leases_of(tasks[0])).holder(tasks[0].name) is None
    assert not record_path(tasks[0]).exists()
    tally, _, _ = run(tasks, {})
    assert len(tally.done) == 3


def test_workers_that_are_lost_before_they_take_a_cell_end_the_run(tasks):
    class Placeless(Scripted):
        def start(self, number):
            worker = super().start(number)
            worker.where = ""
            worker.said.append(("lost", "no node has room"))
            return worker

    schedule = Schedule(tasks, jobs=1, retry=0, executor=Placeless({}), watcher=Silent())
    with pytest.raises(UserError, match="No worker can be started: no node has room"):
        schedule.run()


def test_a_recorded_cell_keeps_neither_its_states_nor_their_copy(tasks, tmp_path):
    """As after a kill between record and removal; without states here no storage is asked."""
    left, clean = (replace(task, storage=f"file://{tmp_path}/copies") for task in tasks[:2])
    for task in (left, clean):
        record(task)
        copy = Path(task.state_copy.removeprefix("file://"))
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(b"a state")
    states = left.place / state_files.FOLDER
    states.mkdir(parents=True)
    (states / state_files.LATEST).write_bytes(b"a state")
    (states / state_files.COPY).write_bytes(b"a copy that was being compared")
    assert len(run([left, clean], {})[0].done) == 2
    assert not states.exists()
    assert [path.name for path in (tmp_path / "copies").iterdir()] == [f"{clean.name}.pt"]


# --- Disks that fail the driver -------------------------------------------------------------------


@pytest.fixture
def disk(monkeypatch):
    """Lets a system call fail, with an error's number, as long as it is asked to."""
    failing = {}

    def instrument(module, name):
        call = getattr(module, name)

        def fail_or_call(*arguments, **named):
            if number := failing.get(name):
                raise OSError(number, os.strerror(number))
            return call(*arguments, **named)

        monkeypatch.setattr(module, name, fail_or_call)

    instrument(os, "link")
    instrument(os, "replace")
    instrument(Path, "unlink")
    instrument(Path, "exists")
    monkeypatch.setattr(schedule, "_LOOK_EVERY", 0.0)
    return failing


@pytest.mark.parametrize(
    ("call", "number"), [("link", errno.ENOSPC), ("link", errno.EDQUOT), ("exists", errno.ESTALE)]
)
def test_a_disk_that_lets_no_cell_be_begun_costs_none_that_runs(call, number, tasks, disk):
    """The first cell runs on while the second is refused, again and again; then there is room."""
    looks = iter(range(9))

    def begun(task):
        disk[call] = number

    class Slow(Scripted):
        def wait(self, workers, seconds):
            if next(looks) == 5:
                disk.clear()
                self.started[0].said.append(record(tasks[0]))

    executor, watcher = Slow({0: [begun]}), Silent()
    tally = Schedule(tasks, jobs=2, retry=0, executor=executor, watcher=watcher).run()
    assert len(tally.done) == 3
    assert executor.handed[0][0] == 0, "it was not begun anew"
    assert sorted(seed for seed, _ in executor.handed) == [0, 1, 2]
    (refused,) = [event for event in watcher.events if event[0] == "refused"]
    assert os.strerror(number) in refused[-1]
    assert not leases_of(tasks[0]).exists()


def test_a_disk_that_stays_full_ends_the_run_by_a_sentence_once_nothing_runs(
    tasks, disk, monkeypatch
):
    monkeypatch.setattr(schedule, "_PATIENCE", 0.2)

    def fill(task):
        disk["link"] = errno.ENOSPC
        return record(task)

    watcher = Silent()
    whole = Schedule(tasks, jobs=1, retry=0, executor=Scripted({0: [fill]}), watcher=watcher)
    with pytest.raises(UserError, match=r"No cell can be taken in .*No space left on device"):
        whole.run()
    assert [task.cell.seed for task in whole.tally.done] == [0]
    assert [event[:2] for event in watcher.events if event[0] == "refused"] == [("refused", 1)]


def test_a_cell_is_finished_though_the_disk_fails_its_lease_which_is_removed_later(
    tasks, disk, monkeypatch
):
    monkeypatch.setattr(leasing, "BEAT_SECONDS", 0.05)
    failures.write(
        record_path(tasks[0]),
        failures.Failure(cell="", reason="of another day", detail="", attempts=1, when=""),
    )

    def stale(task):
        content = record(task)
        disk["unlink"] = errno.ESTALE
        return content

    tally, _, watcher = run(tasks[:1], {0: [stale]})
    assert [task.cell.seed for task in tally.done] == [0]
    assert ("finished", 0, True) in watcher.events
    assert [path.name for path in leases_of(tasks[0]).iterdir()] == [f"{tasks[0].name}.001.lease"]
    assert dry_run._status([tasks[0].cell], tasks[0].results) == "recorded", "not failed as well"
    disk.clear()
    until = time.monotonic() + 20
    while leases_of(tasks[0]).exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not leases_of(tasks[0]).exists()


def test_a_disk_that_fails_the_telling_of_a_failure_too_ends_no_driver(tasks, disk):
    def fail(task):
        disk.update(replace=errno.EIO, unlink=errno.EIO)
        return ("failed", "no room", "")

    tally, _, _ = run(tasks[:1], {0: [fail]})
    ((_, reason),) = tally.failed
    assert reason.startswith("no room (not saved: ")
    assert Leases(leases_of(tasks[0])).holder(tasks[0].name) is None


def test_a_driver_that_has_to_end_lets_running_cells_save_before_it_kills_them(tasks):
    """The second worker meets a defect of the driver while the first trains."""

    class Broken(Scripted):
        def wait(self, workers, seconds):
            if len(self.handed) == 2 and not broken:
                broken.append(True)
                raise RuntimeError("a defect")

    broken = []
    executor, watcher = Broken({0: [()], 1: [()]}), Silent()
    with pytest.raises(RuntimeError, match="a defect"):
        Schedule(tasks, jobs=2, retry=0, executor=executor, watcher=watcher).run()
    assert [event for event in watcher.events if event[0] == "left"] == [("left", 0), ("left", 1)]
    assert all(worker.killed for worker in executor.started)


def test_a_log_without_room_does_not_stop_a_suite(tasks):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    view = SuiteView(1, Console(file=Full()), Durations(), 1)
    view.started(tasks[0], "here")
    view.refused(tasks[0], "a full disk")


# --- Runs side by side ----------------------------------------------------------------------------

SHORT = ("memory", "Memory ran out.", "gpu")


class Stepwise(Scripted):
    """Workers that answer in the order that a test plans, one message at a time.

    Args:
        plan: The seed of a cell that runs then, and its answer.
    """

    def __init__(self, plan):
        super().__init__({})
        self.plan, self.shares = list(plan), []

    def start(self, number):
        worker = super().start(number)
        worker.share = lambda runs: self.shares.append((number, runs))
        worker.hand = lambda task: self.handed.append((task.cell.seed, worker, task))
        return worker

    def wait(self, workers, seconds):
        wanted, answer = self.plan.pop(0)
        worker, task = next((w, t) for seed, w, t in reversed(self.handed) if seed == wanted)
        assert not worker.killed
        worker.said.append(answer(task) if callable(answer) else answer)


def side_by_side(tasks, plan, jobs, room):
    executor, watcher = Stepwise(plan), Silent()
    tally = Schedule(tasks, jobs=jobs, retry=0, executor=executor, watcher=watcher, room=room).run()
    assert executor.plan == []
    return tally, executor, watcher


def test_a_run_whose_memory_ran_out_costs_no_other_and_runs_again_with_fewer_beside_it(tasks):
    plan = [(1, SHORT), (0, record), (1, SHORT), (2, record), (1, record)]
    tally, executor, watcher = side_by_side(tasks, plan, 3, Room(1))
    assert [task.cell.seed for task in tally.done] == [0, 2, 1]
    assert tally.failed == []
    assert [seed for seed, *_ in executor.handed] == [0, 1, 2, 1, 1], "the others ran once"
    crowded = [event for event in watcher.events if event[0] == "crowded"]
    assert crowded == [("crowded", 1, SHORT[1], 2), ("crowded", 1, SHORT[1], 1)]
    together = [(0, 3), (1, 3), (2, 3), (0, 2), (2, 2), (0, 2), (2, 1)]
    assert executor.shares == together, "who runs is informed of how many share the card"
    without_memory = [worker for seed, worker, _ in executor.handed if seed == 1][:2]
    assert all(worker.killed for worker in without_memory), "its process may still hold memory"
    assert failures.read(record_path(tasks[1])) is None


@pytest.mark.parametrize("place", ["gpu", "host"])
def test_a_run_without_memory_that_was_alone_has_failed(place, tasks):
    short = ("memory", "Memory ran out.", place)
    for room in (Room(1), Room(0), None):  # None as on a cluster
        tally, executor, _ = side_by_side(tasks[:1], [(0, short)], 2, room)
        assert [(task.cell.seed, why) for task, why in tally.failed] == [(0, "Memory ran out.")]
        assert executor.handed[0][1].killed


def test_runs_start_where_there_is_room_on_the_emptiest_card_and_idle_workers_end(tasks):
    """Of two cards, the second takes no two runs; the third run goes to the first."""

    class Small:
        def admits(self, cell, card, beside):
            return len(beside) < (2, 1)[card]

    plan = [(0, record), (1, record), (2, record)]
    tally, executor, _ = side_by_side(tasks, plan, 4, Room(2, Small()))
    assert len(tally.done) == 3
    numbers = [executor.started.index(worker) for _, worker, _ in executor.handed]
    assert numbers == [0, 1, 2], "workers 0 and 2 share a card"
    assert executor.shares == [(0, 2), (2, 2), (2, 1)]
    assert executor.started[0].killed, "it would hold memory beside the third run"
