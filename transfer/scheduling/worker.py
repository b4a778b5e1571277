"""The inside of a worker process: cells, one after another, for the driver that started it.

The libraries are imported once, so that a further cell costs no start-up. The worker dies with its
driver: it is killed by the kernel on Linux, and elsewhere ends when its pipe does.
"""

from __future__ import annotations

import gc
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from backbones.common.errors import BrokenProcess, UserError
from backbones.runtime import stopping
from backbones.runtime.child_processes import die_with
from transfer.records.cells import Task

STOP = "stop"
"""Sent to a worker: save, and leave."""

_TELL_EVERY = 0.5  # seconds between two reports of progress


RunCell = Callable[[Task, Callable[[str, int, int], None]], object]
"""Runs a cell to its record, and tells a listener how it goes."""


def serve(
    connection: Connection,
    *,
    environment: dict[str, str],
    log: Path,
    driver: int,
    run_cell: RunCell | None = None,
) -> None:
    """Run every task that comes through the pipe, until it is closed.

    Sends ``("step", phase, done, total)``, and for each task one of ``("done",)``,
    ``("failed", reason, detail)`` and ``("stopped",)``.

    Args:
        connection: To the driver.
        environment: Set before the libraries are imported: which GPU, how many threads.
        log: File for whatever libraries print.
        driver: The driver's process number.
        run_cell: What runs a cell, where that is not the engine.
    """
    die_with(driver)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches all; the driver decides
    signal.signal(signal.SIGTERM, lambda *_: stopping.request())
    os.environ.update(environment)
    _send_output_to(log)
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(connection, tasks), daemon=True).start()
    if run_cell is None:  # imported now: it is slow, and the driver has yet to decide what to run
        from transfer.finetune.cell_run import run_cell
    assert run_cell
    while True:
        connection.send(_run(tasks.get(), connection, run_cell))
        gc.collect()  # a runner holds itself in circles, and with them its memory


def _listen(connection: Connection, tasks: queue.SimpleQueue[Task]) -> None:
    try:
        while True:
            message = connection.recv()
            if message == STOP:
                stopping.request()
            else:
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
    except BrokenProcess as error:
        return ("failed", str(error), traceback.format_exc())
    except UserError as error:
        return ("failed", str(error), "")
    except Exception as error:
        first_line = (str(error).splitlines() or [""])[0]
        return ("failed", f"{type(error).__name__}: {first_line}", traceback.format_exc())
    return ("done",)


class _Teller:
    """A listener that tells the driver, not more often than a person can read."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.told = ("", 0.0)

    def __call__(self, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        if phase != self.told[0] or done == total or now - self.told[1] >= _TELL_EVERY:
            self.told = (phase, now)
            self.connection.send(("step", phase, done, total))


def _send_output_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    file: Any = log.open("a", buffering=1, encoding="utf-8")
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
