"""Progress on the screen: a bar for people, a line now and then for logs."""

from __future__ import annotations

import time
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

_LINE_EVERY = 30.0  # seconds, where there is no terminal


class StepBar:
    """The progress of one training, with an estimate of the time left.

    Args:
        title: What is being trained.
    """

    def __init__(self, title: str) -> None:
        self.title = one_line(title)
        self.console = Screen(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task(title, total=None)
        self.phase = ""
        self.started = self.told = time.monotonic()
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
        """What is being done has come to ``done`` of ``total`` steps."""
        if phase != self.phase:
            self.phase, self.first = phase, done
            self.started = time.monotonic()
        self.progress.update(
            self.task, description=f"{self.title}: {phase}", completed=done, total=total
        )
        now = time.monotonic()
        if self.progress.disable and now - self.told >= _LINE_EVERY and done > self.first:
            self.told = now
            left = (now - self.started) / (done - self.first) * (total - done)
            self.console.print(f"{self.title}: {phase} {done}/{total}, {left:.0f} s left")
