"""Reasons to stop a training early: a request to stop, or a lost lease.

Both concern the whole process. After a request, trainings save a checkpoint. After the loss of a
lease, they write nothing more.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_AT_ONCE = 1.0
"""Seconds within which two signals of Ctrl-C count as one."""

_requested = threading.Event()
_fences: list[Callable[[bool], bool]] = []


class Interrupted(Exception):
    """The training was asked to stop; its checkpoint is saved."""


class Superseded(Interrupted):
    """The lease was lost; the training has written nothing since."""


def request() -> None:
    """Ask every training of this process to save a checkpoint and stop."""
    _requested.set()


def requested() -> bool:
    """Whether this process was asked to stop."""
    return _requested.is_set()


@contextmanager
def fenced(lost: Callable[[bool], bool]) -> Iterator[None]:
    """A context in which trainings stop without writing once their lease is lost.

    Args:
        lost: Returns whether the lease is lost; True asks it to look again, False to use its last
            answer.
    """
    _fences.append(lost)
    try:
        yield
    finally:
        _fences.remove(lost)


def superseded(look: bool = False) -> bool:
    """Whether the lease of the current training is lost.

    Args:
        look: Look again, as is necessary before writing; otherwise the disk is not accessed.
    """
    return any([lost(look) for lost in _fences])


def require_ours() -> None:
    """Check that this process still holds the lease.

    Raises:
        Superseded: The lease is lost.
    """
    if superseded(look=True):
        raise Superseded(
            "lease lost: another driver assumed that this process had died, or the lease file was "
            "removed"
        )


@contextmanager
def on_signals() -> Iterator[None]:
    """A context in which Ctrl-C and SIGTERM request a stop; a second Ctrl-C interrupts at once.

    Schedulers send SIGTERM some time before they kill a process. If a signal reaches all processes
    and a launcher forwards it, it arrives twice. So further SIGTERMs are ignored, and two Ctrl-Cs
    in quick succession count as one.
    """
    asked_at = -math.inf

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked_at
        if not requested():
            asked_at = time.monotonic()
            request()
        elif number == signal.SIGINT and time.monotonic() - asked_at > _AT_ONCE:
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _requested.clear()
