"""Suites on a Ray cluster; what needs Ray is skipped where it is not installed."""

import importlib.util
import io
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from backbones.common.errors import UserError
from tests.support import chaos_suite
from tests.support.suites import EventLog, tasks_of
from transfer import run
from transfer.plan.durations import Durations
from transfer.records import records
from transfer.scheduling.schedule import Schedule, record_path
from transfer.scheduling.view import SuiteView

ROOT = Path(__file__).resolve().parents[3]
needs_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed")


def refused(arguments, tmp_path, capsys):
    common = [
        "--suite",
        "quick",
        "--results",
        str(tmp_path / "r"),
        "--work-dir",
        str(tmp_path / "w"),
    ]
    assert run.main([*common, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


@needs_ray
def test_an_address_that_does_not_answer_is_a_sentence_within_seconds(here, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    error = refused(["--ray", address], here, capsys)
    assert time.monotonic() - began < 30, "Ray itself would try for minutes"
    assert f"The Ray cluster at '{address}' does not answer" in error
    assert "it is not HOST:PORT" in refused(["--ray", "nowhere"], here, capsys)


def test_a_missing_ray_is_named(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "pip install ray" in refused(["--ray", "auto"], here, capsys)


# --- A schedule through losses, without a cluster -------------------------------------------------


class Unsteady:
    """Workers that get a place late and lose the cells that the test names; cells are empty."""

    def __init__(self, losses):
        self.losses = Counter(losses)
        self.workers = []

    def start(self, number):
        self.workers.append(UnsteadyWorker(self, number))
        return self.workers[-1]

    def wait(self, workers, seconds):
        time.sleep(0.001)


class UnsteadyWorker:
    def __init__(self, executor, number):
        self.executor, self.number, self.looks = executor, number, 0
        self.owner, self.where, self.task = os.getpid(), "", None

    def hand(self, task):
        self.task = task

    def messages(self):
        self.looks += 1
        if self.looks == 3:
            self.where = f"place {self.number}"
        if self.task is None:
            return []
        task, self.task = self.task, None
        if self.executor.losses[task.name] > 0:
            self.executor.losses[task.name] -= 1
            return [("lost", "its node is gone")]
        from tests.support import synthetic

        records.write(record_path(task), synthetic.content(task.cell, 50.0))
        return [("done",)]

    def stop(self):
        pass

    def kill(self):
        pass


def test_a_lost_worker_costs_no_attempt_and_an_unplaced_one_gets_no_cell(here, cache):
    suite = chaos_suite.write_suite(
        here, cache / "sample", rows=["resnet18_scratch"], seeds=range(3), tasks=["detection"]
    )
    tasks = tasks_of(suite, here)
    executor, watcher = Unsteady({tasks[0].name: 3, tasks[1].name: 99}), EventLog()
    tally = Schedule(tasks, jobs=2, retry=0, executor=executor, watcher=watcher).run()
    assert {task.name for task in tally.done} == {tasks[0].name, tasks[2].name}
    assert [task.name for task, _ in tally.failed] == [tasks[1].name], "held for the cause at last"
    assert watcher.of("left").count(tasks[0].name) == 3
    assert watcher.of("started").count(tasks[0].name) == 4
    wheres = {event[2] for event in watcher.events if event[0] == "started"}
    assert wheres <= {"place 0", "place 1"}, "reported only once there is a place"
    left = list((here / "results").rglob("*.lease"))
    assert all(path.name.startswith(tasks[1].name) for path in left), "what is done is not owned"


# --- On a cluster ---------------------------------------------------------------------------------


class Chaos:
    """Keeps the events of a view, shows them, and acts when a cell has come so far."""

    def __init__(self, view, act):
        self.view, self.act, self.events = view, act, []

    def __getattr__(self, name):
        def tell(*arguments):
            self.events.append((name, *arguments))
            getattr(self.view, name)(*arguments)
            if name in ("stepped", "finished"):
                self.act(self, name, arguments)
            if name == "refresh":
                summary = self.view._summary()
                running = {event[1].name for event in self.events if event[0] == "started"}
                assert set(self.view.running) <= running
                tally = arguments[0]
                parts = len(tally.done) + len(tally.failed) + len(tally.waiting)
                assert parts + len(self.view.running) == self.view.total, summary

        return tell


def run_on(cluster_address, tasks, act, jobs=2, **options):
    from transfer.scheduling.cluster import ClusterExecutor

    shown = io.StringIO()
    console = Console(file=shown, width=200)
    executor = ClusterExecutor(cluster_address, jobs)
    try:
        executor.require_fit(tasks)
        with SuiteView(len(tasks), console, Durations(), executor.jobs) as view:
            watcher = Chaos(view, act)
            options = {"retry": 1, **options}
            schedule = Schedule(tasks, jobs=jobs, executor=executor, watcher=watcher, **options)
            tally = schedule.run()
    finally:
        executor.close()
    return tally, watcher, shown.getvalue()


@pytest.fixture
def cluster(monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield made
    made.shutdown()


def eight(here, cache):
    suite = chaos_suite.write_suite(
        here, cache / "sample", rows=["resnet18_scratch"], seeds=range(4), epochs=2
    )
    tasks = tasks_of(suite, here)
    assert len(tasks) == 8
    return tasks


@needs_ray
@pytest.mark.slow
def test_a_killed_worker_and_a_lost_node_lose_no_cell(here, cache, cluster):
    """Eight cells on two nodes; a worker is killed within a cell, then a whole node goes."""
    tasks = eight(here, cache)
    node = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    happened = []

    def act(watcher, event, arguments):
        if event == "stepped" and arguments[1] == "train" and not happened:
            starts = [e for e in watcher.events if e[0] == "started" and e[1] is arguments[0]]
            happened.append("worker")
            os.kill(int(starts[-1][2].split()[1]), signal.SIGKILL)
        if event == "finished" and len(watcher.of("finished")) == 3 and len(happened) == 1:
            happened.append("node")
            threading.Thread(target=cluster.remove_node, args=(node,)).start()

    Chaos.of = lambda self, name: [e for e in self.events if e[0] == name]
    tally, watcher, shown = run_on(cluster.address, tasks, act)
    assert happened == ["worker", "node"]
    assert sorted(task.name for task in tally.done) == sorted(task.name for task in tasks)
    assert tally.failed == []
    finished = Counter(event[1].name for event in watcher.events if event[0] == "finished")
    assert set(finished.values()) == {1}, "each is recorded once"
    assert len(chaos_suite.records_of(here)) == 8
    assert len(watcher.of("left")) >= 1, "the loss was reported"
    assert chaos_suite.leftovers(here) == []
    for task in tasks:
        assert f"done    {task.name}" in shown
        assert record_path(task).with_suffix(".npz").exists(), "per-image results came along"


@needs_ray
@pytest.mark.slow
def test_a_node_without_the_data_or_with_other_versions_is_named_before(here, cache, cluster):
    from transfer.scheduling import cluster as module

    tasks = eight(here, cache)[:1]
    executor = module.ClusterExecutor(cluster.address, 1)
    try:
        (here / "tiny.toml").rename(here / "moved.toml")
        with pytest.raises(UserError, match=r"The node .* lacks data: .*tiny\.toml.* Nothing was"):
            executor.require_fit(tasks)
        (here / "moved.toml").rename(here / "tiny.toml")
        executor.require_fit(tasks)
        ours = module.versions()
        module.versions = lambda: {**ours, "timm": "0.9.2"}
        with pytest.raises(UserError, match=f"differ: timm 0.9.2 and {ours['timm']}"):
            executor.require_fit(tasks)
    finally:
        module.versions = __import__("backbones.common.versions", fromlist=["versions"]).versions
        executor.close()
