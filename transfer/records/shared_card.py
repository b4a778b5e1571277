"""How many runs shared this process's card, or without GPUs this machine, during its run.

A run that shares its card takes longer than alone, so its record states the number.
"""

from __future__ import annotations

import threading
import time


class Company:
    """The number of runs side by side, with its mean over time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """A run begins, alone until further notice."""
        with self._lock:
            self._runs = 1
            self._began = self._since = time.monotonic()
            self._so_far = 0.0

    def share(self, runs: int) -> None:
        """From now on this many runs are side by side, this one included."""
        with self._lock:
            self._count()
            self._runs = runs

    def mean(self) -> float:
        """The mean number of runs since the beginning, this one included."""
        with self._lock:
            self._count()
            seconds = self._since - self._began
            return self._so_far / seconds if seconds else float(self._runs)

    def _count(self) -> None:
        now = time.monotonic()
        self._so_far += self._runs * (now - self._since)
        self._since = now


COMPANY = Company()
"""Of this process, which performs one run after another."""
