"""The inside of a worker process: runs cells one after another for its driver.

Libraries are imported once, so further cells need no start-up. The worker dies with its driver: on
Linux the kernel kills it, elsewhere it ends when its pipe closes.
"""

from __future__ import annotations

import gc
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from backbones.common.errors import BrokenProcess, OutOfMemory, UserError
from backbones.runtime import stopping
from backbones.runtime.child_processes import die_with
from transfer.records.cells import Task
from transfer.records.shared_card import COMPANY

STOP = "stop"
"""Sent to a worker: save a checkpoint and leave the task."""

_REPORT_EVERY = 0.5  # seconds between two reports of progress


@dataclass(frozen=True)
class Share:
    """Sent to a worker: from now on, so many runs are side by side, its own included."""

    runs: int


RunCell = Callable[[Task, Callable[[str, int, int], None]], object]
"""Runs a cell up to its record and notifies a listener of the progress."""


def serve(
    connection: Connection,
    *,
    environment: dict[str, str],
    log: Path,
    driver: int,
    run_cell: RunCell | None = None,
) -> None:
    """Run every task that arrives through the pipe, until it is closed.

    Sends ``("step", phase, done, total)``, and for each task one of ``("done",)``,
    ``("failed", reason, detail)``, ``("stopped",)`` and ``("memory", reason, place)``, the last if
    the memory of a ``"gpu"`` or of the ``"host"`` ran out.

    Args:
        connection: To the driver.
        environment: Variables set before the libraries are imported, such as GPU and threads.
        log: File for the output of libraries.
        driver: The driver's process number.
        run_cell: Runs a cell; the default is the engine.
    """
    die_with(driver)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the driver decides
    signal.signal(signal.SIGTERM, lambda *_: stopping.request())
    os.environ.update(environment)
    _send_output_to(log)
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, tasks), daemon=True).start()
    if run_cell is None:  # imported now, while the driver plans, because it is slow
        from transfer.finetune.cell_run import run_cell
    assert run_cell
    while True:
        connection.send(_run(tasks.get(), connection, run_cell))
        _release_memory()


def _release_memory() -> None:
    """Return what the last run took: on a shared card, others may need it now."""
    gc.collect()  # runners have reference cycles that keep their memory
    if "torch" in sys.modules:
        from backbones.runtime.allocation import give_freed_memory_back

        give_freed_memory_back()


def _listen(connection: Connection, tasks: queue.SimpleQueue[Task]) -> None:
    try:
        while True:
            message = connection.recv()
            if message == STOP:
                stopping.request()
            elif isinstance(message, Share):
                COMPANY.share(message.runs)
            else:
                COMPANY.begin()
                tasks.put(message)
    except (EOFError, OSError):
        os._exit(0)  # the driver has closed the pipe, or is dead


def _run(task: Task, connection: Connection, run_cell: RunCell) -> tuple[str, ...]:
    try:
        if stopping.requested():
            return ("stopped",)
        run_cell(task, _Teller(connection))
    except stopping.Interrupted:
        return ("stopped",)
    except OutOfMemory as error:
        return ("memory", str(error), error.place)
    except BrokenProcess as error:
        return ("failed", str(error), traceback.format_exc())
    except UserError as error:
        return ("failed", str(error), "")
    except Exception as error:
        from backbones.runtime import memory  # imports torch, as the run has done

        first_line = (str(error).splitlines() or [""])[0]
        reason = f"{type(error).__name__}: {first_line}"
        if memory.is_exhausted(error):  # outside of training and evaluation
            return ("memory", reason, memory.place(error))
        return ("failed", reason, traceback.format_exc())
    return ("done",)


class _Teller:
    """A listener that notifies the driver, at most as often as a person can read."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.reported = ("", 0.0)

    def __call__(self, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        if phase != self.reported[0] or done == total or now - self.reported[1] >= _REPORT_EVERY:
            self.reported = (phase, now)
            self.connection.send(("step", phase, done, total))


def _send_output_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    file: Any = log.open("a", buffering=1, encoding="utf-8")
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
