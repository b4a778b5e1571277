"""Why trainings leave before their end: a request to stop, or another who has taken them over.

Both are of the whole process. After a request trainings save their state; once another has taken
over what is trained here they write nothing more.
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
"""Seconds within which two of Ctrl-C's signals are one."""

_requested = threading.Event()
_fences: list[Callable[[bool], bool]] = []


class Interrupted(Exception):
    """The training was asked to stop; its state is saved."""


class Superseded(Interrupted):
    """Another has taken over what was trained here; nothing was written since."""


def request() -> None:
    """Ask every training of this process to save its state and to leave."""
    _requested.set()


def requested() -> bool:
    """Whether this process was asked to stop."""
    return _requested.is_set()


@contextmanager
def fenced(lost: Callable[[bool], bool]) -> Iterator[None]:
    """While inside, trainings leave without a word on the disk once they are another's.

    Args:
        lost: Whether they are: given True it looks anew, given False it says what is known.
    """
    _fences.append(lost)
    try:
        yield
    finally:
        _fences.remove(lost)


def superseded(look: bool = False) -> bool:
    """Whether another has taken over what is trained here.

    Args:
        look: Look anew, as is right before something is written; else nothing is asked of a disk.
    """
    return any([lost(look) for lost in _fences])


def require_ours() -> None:
    """See that what is to be written is still this process's to write.

    Raises:
        Superseded: It is another's.
    """
    if superseded(look=True):
        raise Superseded(
            "the lease on what ran here was taken over by another driver, which held this process "
            "for dead, or was removed"
        )


@contextmanager
def on_signals() -> Iterator[None]:
    """While inside, Ctrl-C and SIGTERM are requests to stop; a second Ctrl-C interrupts at once.

    SIGTERM is what schedulers send some time before they kill. Where a signal reaches all processes
    and a launcher among them passes it on, it comes twice: so a further SIGTERM says nothing new,
    and a Ctrl-C that comes soon after another counts as one.
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
