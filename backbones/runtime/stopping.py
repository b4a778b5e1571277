"""A request to stop, for the whole process: trainings save their state and leave."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_requested = threading.Event()


class Interrupted(Exception):
    """The training was asked to stop; its state is saved."""


def request() -> None:
    """Ask every training of this process to save its state and to leave."""
    _requested.set()


def requested() -> bool:
    """Whether this process was asked to stop."""
    return _requested.is_set()


@contextmanager
def on_signals() -> Iterator[None]:
    """While inside, Ctrl-C and SIGTERM are requests to stop; a second one interrupts at once.

    SIGTERM is what schedulers send some time before they kill.
    """

    def ask(number: int, frame: FrameType | None) -> None:
        if requested():
            raise KeyboardInterrupt
        request()

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _requested.clear()
