"""A worker process, seen from the driver."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Sequence
from multiprocessing.connection import wait
from pathlib import Path

from backbones.common import hardware
from backbones.runtime import socket_folder
from transfer.records.cells import Task
from transfer.scheduling import worker
from transfer.scheduling.worker import RunCell

MAX_LOG_BYTES = 1 << 23
"""Most bytes of a worker's log; a longer one keeps its first half, and what is written next."""


class ProcessExecutor:
    """Runs cells in processes of this machine.

    Args:
        jobs: Cells side by side.
        logs: Folder for what the processes print.
        run_cell: What runs a cell, where that is not the engine.
    """

    def __init__(self, jobs: int, logs: Path, run_cell: RunCell | None = None) -> None:
        self.jobs = jobs
        self.logs = logs
        self.run_cell = run_cell
        self.gpus = hardware.cuda_devices()

    def start(self, number: int) -> WorkerProcess:
        """A worker, given its number from 0."""
        socket_folder.shorten()  # a worker that is killed could not remove one of its own
        environment = environment_of(number, self.jobs, self.gpus)
        return WorkerProcess(number, environment, self.logs / f"worker-{number}.log", self.run_cell)

    def wait(self, workers: Sequence[WorkerProcess], seconds: float) -> None:
        """Return when one of the workers has something to say, or after some time."""
        wait([worker.connection for worker in workers], timeout=seconds)


class WorkerProcess:
    """A process that runs cells one after another.

    Args:
        number: Of the worker, from 0; decides on its GPU.
        environment: Further variables of its environment.
        log: File for what it prints.
        run_cell: What runs a cell, where that is not the engine.
    """

    def __init__(
        self,
        number: int,
        environment: dict[str, str],
        log: Path,
        run_cell: RunCell | None = None,
    ) -> None:
        self.number = number
        self.log = log
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=worker.serve,
            args=(theirs,),
            kwargs={
                "environment": environment,
                "log": log,
                "driver": os.getpid(),
                "run_cell": run_cell,
            },
        )
        # Inherited, so that a Ctrl-C at the terminal cannot end it while it starts.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self.process.start()
        finally:
            signal.signal(signal.SIGINT, previous)
        theirs.close()

    @property
    def pid(self) -> int:
        """Its number; it has one once it was started."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def owner(self) -> int:
        """The process itself: a cell is free once it is dead, and not before."""
        return self.pid

    @property
    def where(self) -> str:
        """Its number, for people."""
        return f"process {self.pid}"

    def hand(self, task: Task) -> None:
        """Let it run a task; a worker that died is found out by :meth:`messages`."""
        self._send(task)

    def stop(self) -> None:
        """Ask it to save and to leave its task."""
        self._send(worker.STOP)

    def messages(self) -> list[tuple]:
        """What it has said since; ends with ``("died", reason)`` when it is no more."""
        _bound(self.log)
        heard: list[tuple] = []
        try:
            while self.connection.poll():
                heard.append(self.connection.recv())
        except (EOFError, OSError):
            heard.append(("died", self._why_dead()))
        return heard

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.join()
        self.connection.close()

    def _send(self, message: object) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def _why_dead(self) -> str:
        self.process.join(10)
        code = self.process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = (
                ": the system does that when memory runs out; run fewer --jobs or a smaller batch"
                if -code == signal.SIGKILL
                else ""
            )
            return f"its process was ended by {name}{hint}"
        return f"its process ended with code {code}; '{self.log}' has what it printed"


def _bound(log: Path) -> None:
    """Cut a log that has grown too long; the worker writes at its end, wherever that is."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > MAX_LOG_BYTES:
            os.truncate(log, MAX_LOG_BYTES // 2)
            with log.open("ab") as file:
                file.write(b"\n[older lines were cut here: the log had grown too long]\n")


def environment_of(number: int, jobs: int, gpus: int) -> dict[str, str]:
    """What sets a worker apart: a GPU of its own where there are any, and its share of the cores.

    Args:
        number: Of the worker, from 0.
        jobs: Workers in all.
        gpus: CUDA devices of this machine that may be used.
    """
    told = {}
    if gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(i) for i in range(gpus)]
        told["CUDA_VISIBLE_DEVICES"] = names[number % gpus].strip()
    if jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
        told["OMP_NUM_THREADS"] = str(max(1, hardware.cpu_cores() // jobs))
    return told
