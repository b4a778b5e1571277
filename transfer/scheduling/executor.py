"""Interfaces of executors and workers, whether processes here or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from transfer.records.cells import Task


class Worker(Protocol):
    """Runs cells one after another."""

    @property
    def owner(self) -> int:
        """A process of this machine that ends when the worker is lost."""

    @property
    def where(self) -> str:
        """Where it runs, for people; empty until it has a place and can take a cell."""

    def hand(self, task: Task) -> None:
        """Start a task; :meth:`messages` reports a worker that died."""

    def share(self, runs: int) -> None:
        """From now on, so many runs are side by side on its card, its own included."""

    def stop(self) -> None:
        """Ask it to save a checkpoint and leave its task."""

    def messages(self) -> list[tuple]:
        """Its new messages.

        ``("step", phase, done, total)`` now and then; for each task one of ``("done",)``,
        ``("failed", reason, detail)``, ``("stopped",)`` and ``("memory", reason, place)``, the last
        if memory of the ``"gpu"`` or of the ``"host"`` ran out; at its end ``("died", reason)``, or
        ``("lost", reason)`` if the cell did not cause it.
        """

    def kill(self) -> None:
        """Terminate it immediately."""


class Executor(Protocol):
    """Starts workers and waits for their messages."""

    def start(self, number: int) -> Worker:
        """Start a worker, given its number from 0."""

    def wait(self, workers: Sequence[Any], seconds: float) -> None:
        """Return when a worker has sent a message, or after some time."""
