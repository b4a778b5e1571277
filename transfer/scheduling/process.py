"""Worker processes on this machine, as the driver sees them."""

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
"""Most bytes of a worker's log; a longer one keeps its first half and new lines."""


class ProcessExecutor:
    """Runs cells in processes of this machine.

    Args:
        jobs: Cells in parallel.
        logs: Folder for the processes' output.
        run_cell: Runs a cell; the default is the engine.
    """

    def __init__(self, jobs: int, logs: Path, run_cell: RunCell | None = None) -> None:
        self.jobs = jobs
        self.logs = logs
        self.run_cell = run_cell
        self.gpus = hardware.cuda_devices()

    def start(self, number: int) -> WorkerProcess:
        """Start a worker, given its number from 0."""
        socket_folder.shorten()  # a killed worker could not remove its own folder
        environment = environment_of(number, self.jobs, self.gpus)
        return WorkerProcess(number, environment, self.logs / f"worker-{number}.log", self.run_cell)

    def wait(self, workers: Sequence[WorkerProcess], seconds: float) -> None:
        """Return when a worker has sent a message, or after some time."""
        wait([worker.connection for worker in workers], timeout=seconds)


class WorkerProcess:
    """A process that runs cells one after another.

    Args:
        number: Number of the worker, from 0; determines its GPU.
        environment: Additional environment variables.
        log: File for its output.
        run_cell: Runs a cell; the default is the engine.
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
        # The process inherits this, so Ctrl-C cannot end it while it starts.
        previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self.process.start()
        finally:
            signal.signal(signal.SIGINT, previous)
        theirs.close()

    @property
    def pid(self) -> int:
        """Its process number, which exists once it is started."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def owner(self) -> int:
        """The process itself, since a cell is free only once the process is dead."""
        return self.pid

    @property
    def where(self) -> str:
        """Its process number, for people."""
        return f"process {self.pid}"

    def hand(self, task: Task) -> None:
        """Start a task; :meth:`messages` reports a worker that died."""
        self._send(task)

    def share(self, runs: int) -> None:
        """From now on, so many runs are side by side on its card, its own included."""
        self._send(worker.Share(runs))

    def stop(self) -> None:
        """Ask it to save a checkpoint and leave its task."""
        self._send(worker.STOP)

    def messages(self) -> list[tuple]:
        """Its new messages.

        If it ended, the last is ``("died", reason)``, or ``("memory", reason, "host")`` if it was
        killed.
        """
        _bound(self.log)
        messages: list[tuple] = []
        try:
            while self.connection.poll():
                messages.append(self.connection.recv())
        except (EOFError, OSError):
            messages.append(self._end())
        return messages

    def kill(self) -> None:
        """Terminate it immediately."""
        self.process.kill()
        self.process.join()
        self.connection.close()

    def _send(self, message: object) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def _end(self) -> tuple[str, ...]:
        """The last message of a process that ended; the system kills one when memory runs out."""
        self.process.join(10)
        code = self.process.exitcode
        if code is None or code >= 0:
            return ("died", f"its process ended with code {code}; its output is in '{self.log}'")
        reason = f"its process was ended by {signal.Signals(-code).name}"
        if -code != signal.SIGKILL:
            return ("died", reason)
        hint = "the system does this when memory runs out; use fewer --jobs or a smaller batch"
        return ("memory", f"{reason}: {hint}", "host")


def _bound(log: Path) -> None:
    """Cut a log that is too long; the worker appends to its end in any case."""
    with contextlib.suppress(OSError):
        if log.stat().st_size > MAX_LOG_BYTES:
            os.truncate(log, MAX_LOG_BYTES // 2)
            with log.open("ab") as file:
                file.write(b"\n[lines were removed here because the log was too long]\n")


def environment_of(number: int, jobs: int, gpus: int) -> dict[str, str]:
    """A worker's environment: its own GPU, if there are any, and its share of the cores.

    Args:
        number: Of the worker, from 0.
        jobs: Workers in all.
        gpus: Usable CUDA devices of this machine.
    """
    variables = {}
    if gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",") if visible else [str(i) for i in range(gpus)]
        variables["CUDA_VISIBLE_DEVICES"] = names[number % gpus].strip()
    if jobs > 1 and "OMP_NUM_THREADS" not in os.environ:
        variables["OMP_NUM_THREADS"] = str(max(1, hardware.cpu_cores() // jobs))
    return variables
