"""Processes that end with the one that started them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor

_PR_SET_PDEATHSIG = 1


def pool(processes: int) -> ProcessPoolExecutor:
    """A pool of new processes; forked ones would lack this one's threads.

    Hand it work in a thread that lives as long as the pool does, see :func:`die_with`.

    Where this one is killed they are too, on Linux. Left to themselves they would wait for ever:
    each holds both ends of the pipe that work comes through.
    """
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, spawn, initializer=die_with, initargs=(os.getpid(),))


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent is dead; on Linux only.

    Args:
        parent: The process that started this one, from a thread that lives as long as it does.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(0)
