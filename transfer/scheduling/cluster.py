"""Cells on a Ray cluster: each worker has a place with its own GPU, cores and memory.

On a node, an actor holds the resources and starts the same worker process that runs cells on one
machine (:mod:`transfer.scheduling.process`). The process's messages and the cell's record return
through Ray, so no shared disk is needed. Checkpoints are in the work folder: if that is on a shared
disk, a cell whose node was lost resumes from its last checkpoint on another node.
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

_ANSWER_SECONDS = 3.0  # to reach an address
_LISTEN_SECONDS = 3.0  # between two reports of steps, since there may be thousands of workers
_EXAMINE_SECONDS = 120.0  # for every node to report its installation


class ClusterExecutor:
    """Starts workers on a cluster.

    Args:
        address: ``auto`` for the cluster that this machine belongs to, ``host:port`` or
            ``ray://host:port``.
        jobs: Cells in parallel; None for one per GPU, or one per node without GPUs.
        memory: Peak memory of a cell in bytes; None if unknown.
        run_cell: Runs a cell on a node; the default is the engine.

    Attributes:
        jobs: Cells in parallel.

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
        # Nodes are assumed to be equal; if they differ, none is asked for more than it has.
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
        """Check that every node has the same versions and the data before any training.

        Raises:
            UserError: A node differs.
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
                    f"The node {name} could not report its installation "
                    f"({_first_line(error)}); install this project on every node of the cluster."
                ) from error
            if differing := difference(ours, theirs):
                raise UserError(
                    f"The node {name} has other versions than this machine: {differing}. Install "
                    "the "
                    "same versions on every node; nothing was trained."
                )
            if fault:
                raise UserError(f"The node {name} lacks data: {fault} Nothing was trained.")

    def start(self, number: int) -> NodeWorker:
        """Start a worker on any node with room for it."""
        return NodeWorker(self, number)

    def wait(self, workers: Sequence[NodeWorker], seconds: float) -> None:
        """Return when a worker has sent a message, or after some time."""
        pending = [worker.pending for worker in workers if worker.pending]
        if not pending:
            time.sleep(seconds)
            return
        found, rest = self.ray.wait(pending, num_returns=1, timeout=seconds)
        if found and rest:  # take all at once: each request costs as much as a wait
            found += self.ray.wait(rest, num_returns=len(rest), timeout=0)[0]
        self.ready = set(found)

    def close(self) -> None:
        """Disconnect from the cluster."""
        self.ray.shutdown()


class NodeWorker:
    """The driver's handle of a worker on a node.

    Args:
        executor: The executor that started it.
        number: Number of the worker, from 0.
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
        """Start a task."""
        self.task = task
        there = dataclasses.replace(
            task,
            data_root=task.data_root.resolve(),
            work_dir=task.work_dir.resolve(),
            results=task.place.resolve() / "results",
        )
        self.pending = self.actor.run.remote(there, _LISTEN_SECONDS)

    def share(self, runs: int) -> None:
        """Nothing: Ray gives each worker a place of its own."""

    def stop(self) -> None:
        """Ask it to save a checkpoint and leave its task."""
        self.actor.stop.remote()

    def messages(self) -> list[tuple]:
        """Its new messages; the record is written before ``done`` is returned."""
        if self.pending not in self.executor.ready:
            return []
        self.executor.ready.discard(self.pending)
        answer, self.pending = self.pending, None
        try:
            messages = self.executor.ray.get(answer)
        except self.executor.ray.exceptions.RayError as error:
            return [("lost", f"its node or worker was lost ({_first_line(error)})")]
        if isinstance(messages, str):
            self.where = messages
            return []
        if all(message[0] == "step" for message in messages):  # after anything else it is idle
            self.pending = self.actor.listen.remote(_LISTEN_SECONDS)
        return [self._arrived(message) for message in messages]

    def kill(self) -> None:
        """Terminate it immediately."""
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
    """The driver's actor on a node: holds its resources and starts a worker process."""

    def __init__(self, number: int, environment: dict[str, str], run_cell: RunCell | None) -> None:
        self.number = number
        self.environment = environment
        self.run_cell = run_cell
        self.process: WorkerProcess | None = None
        self.task: Task | None = None
        self.messages: list[tuple] = []

    def place(self) -> str:
        """The process and machine of this actor."""
        return f"process {os.getpid()} on {platform.node()}"

    def run(self, task: Task, seconds: float) -> list[tuple]:
        """Start a task in the process; a finished record that was not fetched is returned first."""
        self.task = task
        if record_path(task).exists():
            return [self._with_record(("done",))]
        if self.process is None:
            log = task.work_dir / f"worker-{self.number}.log"
            self.process = WorkerProcess(self.number, self.environment, log, self.run_cell)
        self.process.hand(task)
        return self.listen(seconds)

    def stop(self) -> None:
        """Ask the process to save a checkpoint and leave its task."""
        if self.process:
            self.process.stop()

    def listen(self, seconds: float) -> list[tuple]:
        """The process's messages; of its steps, only the newest, now and then."""
        until = time.monotonic() + seconds
        step: list[tuple] = []
        while self.process and not self.messages and (left := until - time.monotonic()) > 0:
            wait([self.process.connection], timeout=left)
            for message in self.process.messages():
                if message[0] == "step":
                    step = [message]
                else:
                    self.messages.append(message)
        messages, self.messages = [*step, *map(self._with_record, self.messages)], []
        return messages

    def forget(self) -> None:
        """The driver has received the record."""
        if self.task:
            shutil.rmtree(self.task.results, ignore_errors=True)

    def _with_record(self, message: tuple) -> tuple:
        if message[0] in ("died", "memory") or (message[0] == "failed" and message[2]):
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
    """A node's versions, and a sentence about data sets that are missing or differ."""
    for data, root, task, expected in wanted:
        try:
            found = fingerprint(data, root, task)
        except UserError as error:
            return versions(), str(error)
        if found != expected:
            return (
                versions(),
                f"'{data}' under '{root}' has other image lists than here, or is another file.",
            )
    return versions(), ""


def _connect(address: str) -> Any:
    import ray
    import ray.util.scheduling_strategies

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
                "'ray start --head', or pass its address as --ray HOST:PORT."
            ) from error
    return ray


def _require_answer(address: str) -> None:
    """Check within seconds that something listens; Ray itself tries for a minute."""
    parts = urlsplit(address if "://" in address else f"ray-gcs://{address}")
    try:
        host, port = parts.hostname, parts.port
        if host is None or port is None:
            raise ValueError("it is not HOST:PORT")
        socket.create_connection((host, port), timeout=_ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UserError(
            f"The Ray cluster at '{address}' does not answer ({error}); check 'ray status' on "
            "its head node, and pass --ray HOST:PORT, or 'auto' on a machine of the cluster."
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
