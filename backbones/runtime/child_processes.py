"""Child processes that end with their parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor

_PR_SET_PDEATHSIG = 1


def pool(processes: int) -> ProcessPoolExecutor:
    """A pool of spawned processes; forked ones would lack the threads of this process.

    Submit work from a thread that lives as long as the pool; see :func:`die_with`.

    On Linux, they are killed with this process. Otherwise they would wait for ever, because each
    holds both ends of the pipe that delivers work.
    """
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, spawn, initializer=die_with, initargs=(os.getpid(),))


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent dies; on Linux only.

    Args:
        parent: The process that started this one, from a thread that lives as long as the parent.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the request
        os._exit(0)
