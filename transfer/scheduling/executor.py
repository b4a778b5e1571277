"""Where cells run: what a schedule asks of workers, be they processes here or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from transfer.records.cells import Task


class Worker(Protocol):
    """Runs cells one after another."""

    @property
    def owner(self) -> int:
        """A process of this machine that ends when the worker can no longer be heard."""

    @property
    def where(self) -> str:
        """Where it runs, for people; empty while it has no place yet, and can take no cell."""

    def hand(self, task: Task) -> None:
        """Let it run a task; a worker that died is found out by :meth:`messages`."""

    def stop(self) -> None:
        """Ask it to save and to leave its task."""

    def messages(self) -> list[tuple]:
        """What it has said since.

        ``("step", phase, done, total)`` now and then; for each task one of ``("done",)``,
        ``("failed", reason, detail)`` and ``("stopped",)``; at its end ``("died", reason)``, or
        ``("lost", reason)`` where that was not the cell's doing.
        """

    def kill(self) -> None:
        """End it at once."""


class Executor(Protocol):
    """Starts workers, and waits for what they say."""

    def start(self, number: int) -> Worker:
        """A worker, given its number from 0."""

    def wait(self, workers: Sequence[Any], seconds: float) -> None:
        """Return when one of its workers has something to say, or after some time."""
