"""Progress display: a bar on a terminal, an occasional line in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from backbones.common.escape import one_line
from backbones.common.screen import Screen

_LINE_EVERY = 30.0  # seconds, without a terminal


class StepBar:
    """The progress of one training, with an estimate of the time left.

    Args:
        title: What is being trained.
        left: Returns the seconds until the whole command is done.
    """

    def __init__(self, title: str, left: Callable[[], float] | None = None) -> None:
        self.title = one_line(title)
        self.left = left
        self.console = Screen(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task(title, total=None, left="")
        self.phase = ""
        self.started = self.printed = time.monotonic()
        self.first = 0

    def __enter__(self) -> StepBar:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def step(self, phase: str, done: int, total: int) -> None:
        """Show ``done`` of ``total`` steps of a phase; with no steps, ``phase`` is a message."""
        if phase != self.phase:
            self.phase, self.first = phase, done
            self.started = time.monotonic()
            if not total:
                self.console.print(f"{self.title}: {phase}", highlight=False, soft_wrap=True)
        if not total:
            return
        now = time.monotonic()
        steps = done - self.first
        of_phase = (now - self.started) / steps * (total - done) if steps > 0 else None
        in_all = self.left() if self.left else None
        self.progress.update(
            self.task,
            description=f"{self.title}: {phase}",
            completed=done,
            total=total,
            left=_left(of_phase) if in_all is None else f"{_left(in_all)} in all",
        )
        if self.progress.disable and now - self.printed >= _LINE_EVERY and of_phase is not None:
            self.printed = now
            line = f"{self.title}: {phase} {done}/{total}, {of_phase:.0f} s left"
            if in_all is not None:
                line += f", {in_all:.0f} s in all"
            self.console.print(line, highlight=False, soft_wrap=True)


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{timedelta(seconds=round(seconds))} left"
