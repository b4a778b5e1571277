"""Cells on the machines of a Ray cluster: a worker a place, with its GPU, its cores and its memory.

On a node an actor holds the resources and starts the very worker process that runs cells on one
machine (:mod:`transfer.scheduling.process`). The process's messages and the cell's record come back
through Ray, so that no disk has to be shared. States are saved in the work folder: where
that lies on a shared disk, a cell whose node was lost goes on from its last state on another.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import platform
import shutil
import socket
import time
from collections.abc import Iterable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from backbones.common.atomic_write import write_atomically
from backbones.common.errors import UserError
from backbones.common.versions import versions
from backbones.runtime.ranks import difference
from transfer.plan.request import fingerprint
from transfer.records.cells import Task
from transfer.scheduling.process import RunCell, WorkerProcess
from transfer.scheduling.schedule import record_path

_ANSWER_SECONDS = 3.0  # for an address to be reached
_LISTEN_SECONDS = 3.0  # between two reports of steps; a thousand workers make many
_EXAMINE_SECONDS = 120.0  # for every node to say what it has


class ClusterExecutor:
    """Starts workers on a cluster.

    Args:
        address: ``auto`` for the cluster that this machine belongs to, ``host:port`` or
            ``ray://host:port``.
        jobs: Cells side by side; None for one a GPU, or one a node where there are none.
        memory: Of a cell at its peak, in bytes; None where nobody knows.
        run_cell: What runs a cell on a node, where that is not the engine.

    Attributes:
        jobs: Cells side by side.

    Raises:
        UserError: Ray is not installed, or the cluster does not answer.
    """

    def __init__(
        self,
        address: str,
        jobs: int | None,
        memory: float | None = None,
        run_cell: RunCell | None = None,
    ) -> None:
        self.ray = _connect(address)
        alive = [node for node in self.ray.nodes() if node["Alive"]]
        self.nodes = {node["NodeID"]: node["NodeManagerHostname"] for node in alive}
        cores = [int(node["Resources"].get("CPU", 0)) for node in alive]
        gpus = int(sum(node["Resources"].get("GPU", 0) for node in alive))
        self.jobs = jobs or gpus or len(alive)
        # Nodes are taken to be alike; where they are not, none is asked for more than it has.
        largest = max(1, min((c for c in cores if c), default=1))
        self.cores = max(1, min(largest, sum(cores) // self.jobs))
        self.options = {
            "num_cpus": self.cores,
            "num_gpus": 1 if gpus else 0,
            **({"memory": int(memory)} if memory else {}),
        }
        self.run_cell = run_cell
        self.ready: set[Any] = set()

    def require_fit(self, tasks: Iterable[Task]) -> None:
        """See that every node has the same versions, and the data, before anything is trained.

        Raises:
            UserError: A node has not.
        """
        wanted = {(t.data, t.data_root.resolve(), t.cell.task, t.cell.data_fingerprint): None
                  for t in tasks}  # fmt: skip
        strategy = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        look = self.ray.remote(num_cpus=0)(examine)
        asked = {
            name: look.options(scheduling_strategy=strategy(node, soft=False)).remote(list(wanted))
            for node, name in self.nodes.items()
        }
        ours = versions()
        for name, answer in asked.items():
            try:
                theirs, fault = self.ray.get(answer, timeout=_EXAMINE_SECONDS)
            except self.ray.exceptions.RayError as error:
                raise UserError(
                    f"The node {name} could not say what is installed there "
                    f"({_first_line(error)}); install this project on every node of the cluster."
                ) from error
            if differing := difference(ours, theirs):
                raise UserError(
                    f"The versions here and on the node {name} differ: {differing}. Install the "
                    "same on every node; nothing was trained."
                )
            if fault:
                raise UserError(f"The node {name} lacks data: {fault} Nothing was trained.")

    def start(self, number: int) -> NodeWorker:
        """A worker, on whatever node has room for it."""
        return NodeWorker(self, number)

    def wait(self, workers: Sequence[NodeWorker], seconds: float) -> None:
        """Return when one of the workers has something to say, or after some time."""
        pending = [worker.pending for worker in workers if worker.pending]
        if not pending:
            time.sleep(seconds)
            return
        found, rest = self.ray.wait(pending, num_returns=1, timeout=seconds)
        if found and rest:  # take all at once: asking for each by itself costs as much as a wait
            found += self.ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        self.ready = set(found)

    def close(self) -> None:
        """Leave the cluster."""
        self.ray.shutdown()


class NodeWorker:
    """A worker on a node, seen from the driver.

    Args:
        executor: What started it.
        number: Of the worker, from 0.
    """

    def __init__(self, executor: ClusterExecutor, number: int) -> None:
        self.executor = executor
        self.owner = os.getpid()  # Ray ends the actors of a driver that ends
        self.where = ""
        self.task: Task | None = None
        actor = executor.ray.remote(_NodeActor).options(max_restarts=0, **executor.options)
        environment = {"OMP_NUM_THREADS": str(executor.cores)}
        self.actor = actor.remote(number, environment, executor.run_cell)
        self.pending: Any = self.actor.place.remote()

    def hand(self, task: Task) -> None:
        """Let it run a task."""
        self.task = task
        there = dataclasses.replace(
            task,
            data_root=task.data_root.resolve(),
            work_dir=task.work_dir.resolve(),
            results=task.place.resolve() / "results",
        )
        self.pending = self.actor.run.remote(there, _LISTEN_SECONDS)

    def stop(self) -> None:
        """Ask it to save and to leave its task."""
        self.actor.stop.remote()

    def messages(self) -> list[tuple]:
        """What it has said since; a record that has come is in its place when ``done`` is told."""
        if self.pending not in self.executor.ready:
            return []
        self.executor.ready.discard(self.pending)
        told, self.pending = self.pending, None
        try:
            heard = self.executor.ray.get(told)
        except self.executor.ray.exceptions.RayError as error:
            return [("lost", f"its node or its worker is gone ({_first_line(error)})")]
        if isinstance(heard, str):
            self.where = heard
            return []
        if all(message[0] == "step" for message in heard):  # after anything else it is idle
            self.pending = self.actor.listen.remote(_LISTEN_SECONDS)
        return [self._arrived(message) for message in heard]

    def kill(self) -> None:
        """End it at once."""
        self.executor.ray.kill(self.actor)

    def _arrived(self, message: tuple) -> tuple:
        if message[0] != "done" or self.task is None:
            return message
        target = record_path(self.task)
        try:
            for suffix, content in message[1].items():
                write_atomically(target.with_suffix(suffix), content)
        except UserError as error:
            return ("failed", str(error), "")
        self.actor.forget.remote()
        return ("done",)


class _NodeActor:
    """The driver's arm on a node: holds its resources, and starts and hears a worker process."""

    def __init__(self, number: int, environment: dict[str, str], run_cell: RunCell | None) -> None:
        self.number = number
        self.environment = environment
        self.run_cell = run_cell
        self.process: WorkerProcess | None = None
        self.task: Task | None = None
        self.heard: list[tuple] = []

    def place(self) -> str:
        """Where this is."""
        return f"process {os.getpid()} on {platform.node()}"

    def run(self, task: Task, seconds: float) -> list[tuple]:
        """Let the process run a task, and listen; a record that nobody has fetched is told."""
        self.task = task
        if record_path(task).exists():
            return [self._with_record(("done",))]
        if self.process is None:
            log = task.work_dir / f"worker-{self.number}.log"
            self.process = WorkerProcess(self.number, self.environment, log, self.run_cell)
        self.process.hand(task)
        return self.listen(seconds)

    def stop(self) -> None:
        """Ask the process to save and to leave its task."""
        if self.process:
            self.process.stop()

    def listen(self, seconds: float) -> list[tuple]:
        """What the process has said; steps are told together, the newest of them, now and then."""
        until = time.monotonic() + seconds
        step: list[tuple] = []
        while self.process and not self.heard and (left := until - time.monotonic()) > 0:
            wait([self.process.connection], timeout=left)
            for message in self.process.messages():
                if message[0] == "step":
                    step = [message]
                else:
                    self.heard.append(message)
        told, self.heard = [*step, *map(self._with_record, self.heard)], []
        return told

    def forget(self) -> None:
        """The driver has the record."""
        if self.task:
            shutil.rmtree(self.task.results, ignore_errors=True)

    def _with_record(self, message: tuple) -> tuple:
        if message[0] in ("died", "failed") and (message[0] == "died" or message[2]):
            self._end_process()
        if message[0] != "done":
            return message
        assert self.task
        path = record_path(self.task)
        there = {s: path.with_suffix(s) for s in (".npz", ".json")}
        return ("done", {s: file.read_bytes() for s, file in there.items() if file.exists()})

    def _end_process(self) -> None:
        if self.process:
            self.process.kill()
            self.process = None


def examine(wanted: list[tuple[str, Path, str, str]]) -> tuple[dict[str, str], str]:
    """What a node has: versions, and a sentence about data that are missing or others."""
    for data, root, task, expected in wanted:
        try:
            found = fingerprint(data, root, task)
        except UserError as error:
            return versions(), str(error)
        if found != expected:
            return (
                versions(),
                f"'{data}' under '{root}' lists other images than here, or is another file.",
            )
    return versions(), ""


def _connect(address: str) -> Any:
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise UserError(
            "--ray needs the package 'ray', which is not installed: pip install -e '.[cluster]' in "
            "the checkout."
        ) from error
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS", "") or address
    if address != "auto":
        _require_answer(address)
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(
                f"No Ray cluster answers at '{address}' ({_first_line(error)}); start one with "
                "'ray start --head', or give its address as --ray HOST:PORT."
            ) from error
    return ray


def _require_answer(address: str) -> None:
    """See that something listens, in seconds; Ray itself tries for a minute."""
    told = urlsplit(address if "://" in address else f"ray-gcs://{address}")
    try:
        host, port = told.hostname, told.port
        if host is None or port is None:
            raise ValueError("it is not HOST:PORT")
        socket.create_connection((host, port), timeout=_ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"The Ray cluster at '{address}' does not answer ({error}); look at 'ray status' on "
            "its head node, and give --ray HOST:PORT, or 'auto' on a machine of the cluster."
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
