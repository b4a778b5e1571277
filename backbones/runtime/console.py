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
    TimeRemainingColumn,
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
            TextColumn("left" if left is None else "left of all"),
            TimeRemainingColumn() if left is None else TextColumn("{task.fields[left]}"),
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
        self.progress.update(
            self.task,
            description=f"{self.title}: {phase}",
            completed=done,
            total=total,
            left=f"{timedelta(seconds=round(self.left()))}" if self.left else "",
        )
        now = time.monotonic()
        if self.progress.disable and now - self.printed >= _LINE_EVERY and done > self.first:
            self.printed = now
            left = (now - self.started) / (done - self.first) * (total - done)
            line = f"{self.title}: {phase} {done}/{total}, {left:.0f} s left"
            if self.left:
                line += f", {self.left():.0f} s of all"
            self.console.print(line, highlight=False, soft_wrap=True)
