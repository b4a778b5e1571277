"""The progress of a suite on the screen: a live view for people, lines for logs."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from backbones.common.errors import UserError
from transfer.plan.durations import Durations
from transfer.plan.forecast import Forecast
from transfer.records import records
from transfer.records.cells import Task
from transfer.records.wording import count
from transfer.scheduling.schedule import Tally, record_path

_LINE_EVERY = 30.0  # seconds, without a terminal
_TELLING = 20.0  # seconds of training before its pace is trusted
_SHOWN = 12  # running cells that fit on a screen
_IN_A_LINE = 4  # running cells that fit in a line


@dataclass(kw_only=True)
class _Running:
    """A running cell: its phase, its progress, and its start time here."""

    task: Task
    since: float
    phase: str = "start"
    done: int = 0
    total: int = 0
    first: tuple[float, int] | None = None  # time and step of the start of training here

    def pace(self, now: float) -> float | None:
        """Total seconds, extrapolated from its steps; None if there are too few."""
        if self.phase != "train" or self.first is None or now - self.first[0] < _TELLING:
            return None
        since, step = self.first
        return (now - since) / max(1, self.done - step) * self.total


class SuiteView:
    """Shows done, running, failed and waiting cells, and the time left.

    Args:
        total: Number of cells.
        console: Where to print.
        durations: Times of cells here; learns from finished ones.
        jobs: Cells in parallel.
        outlook: Forecast of the cells that are not done, and their names in its order; replaces
            ``durations`` as the source of the time left.
    """

    def __init__(
        self,
        total: int,
        console: Console,
        durations: Durations,
        jobs: int,
        outlook: tuple[Forecast, list[str]] | None = None,
    ) -> None:
        self.total = total
        self.console = console
        self.durations = durations
        self.jobs = jobs
        self.outlook = outlook
        self.running: dict[str, _Running] = {}
        self.tally = Tally()
        self.printed = time.monotonic()
        self.live = Live(console=console, get_renderable=self._render, refresh_per_second=4)

    def __enter__(self) -> SuiteView:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.stop()

    def started(self, task: Task, where: str) -> None:
        """A cell has started or resumed."""
        self.running[task.name] = _Running(task=task, since=time.monotonic())
        if not self.console.is_terminal:
            self._say(f"started {task.name} ({where})")

    def stepped(self, task: Task, phase: str, done: int, total: int) -> None:
        """A cell has reached a step."""
        cell = self.running[task.name]
        now = time.monotonic()
        if not total:  # a sentence
            self._say(f"        {task.name}: {phase}")
            return
        if self.outlook:
            forecast, names = self.outlook
            forecast.step(names.index(task.name), phase, done, total)
        if phase == "train" and cell.first is None:
            cell.first = (now, done)
        cell.phase, cell.done, cell.total = phase, done, total
        if seconds := cell.pace(now):
            self.durations.set_pace(task.cell, seconds)

    def refused(self, task: Task, reason: str) -> None:
        """A cell could not start because of the disk; it is retried with the others."""
        self._say(f"delayed {task.name}: {reason}")

    def left(self, task: Task) -> None:
        """A cell has stopped here unfinished."""
        self.running.pop(task.name, None)

    def finished(self, task: Task, here: bool) -> None:
        """A cell has its record."""
        cell = self.running.pop(task.name, None)
        try:
            record = records.read(record_path(task))
        except UserError as error:
            self._say(str(error))
            return
        self.durations.add([record])
        took = f"in {time.monotonic() - cell.since:.0f} s" if cell and here else "by another driver"
        self._say(f"done    {task.name}: {record.measure} {record.value:.2f} % {took}")

    def crowded(self, task: Task, reason: str, most: int) -> None:
        """Memory ran out beside other runs: the cell waits, with fewer side by side from now on."""
        reason = reason.removesuffix(".")
        self._say(f"delayed {task.name}: {reason}; from now on, at most {most} go side by side")

    def failed(self, task: Task, reason: str, again: bool) -> None:
        """A cell has failed."""
        self.running.pop(task.name, None)
        self._say(f"failed  {task.name}: {reason}" + (" (will be retried)" if again else ""))

    def refresh(self, tally: Tally) -> None:
        """Update the progress; without a terminal, print a line now and then."""
        self.tally = tally
        now = time.monotonic()
        if not self.console.is_terminal and now - self.printed >= _LINE_EVERY:
            self.printed = now
            self._say(self._summary())

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # such as a log on a full disk; the suite continues
            self.console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _summary(self) -> str:
        counts = {
            "done": len(self.tally.done),
            "running": len(self.running),
            "failed": len(self.tally.failed),
            "waiting": len(self.tally.waiting),
        }
        summary = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        if not self.console.is_terminal and (far := self._how_far()):
            summary = summary.replace(" running", f" running ({far})")
        others = sum(bool(job.elsewhere) for job in self.tally.waiting)
        if others:
            summary += f" ({others} run by another driver)"
        return f"{count(self.total, 'run')}: {summary}; {self._time_left()}"

    def _how_far(self) -> str:
        """The progress of the running cells that fit in a line."""
        cells = [cell for cell in self.running.values() if cell.total][:_IN_A_LINE]
        return ", ".join(f"{cell.phase} {cell.done}/{cell.total}" for cell in cells)

    def _time_left(self) -> str:
        if self.outlook:
            return f"about {timedelta(seconds=round(self.outlook[0].left()))} left"
        ahead, unknown = self.durations.total(job.task.cell for job in self.tally.waiting)
        rest = [self._rest_of(cell) for cell in self.running.values()]
        known = [seconds for seconds in rest if seconds is not None]
        seconds = max(known, default=0.0) + ahead / self.jobs
        unknown += len(rest) - len(known)
        left = timedelta(seconds=round(seconds))
        if not unknown:
            return f"about {left} left"
        if not seconds:
            return "time left unknown"
        return f"about {left} left, plus {count(unknown, 'run')} without an estimate"

    def _rest_of(self, cell: _Running) -> float | None:
        """Seconds left of a running cell."""
        whole = self.durations.of(cell.task.cell)
        if whole is None:
            return None
        if cell.phase == "train" and cell.total:
            return whole.seconds * (1 - cell.done / cell.total)
        return max(0.0, whole.seconds - (time.monotonic() - cell.since))

    def _render(self) -> RenderableType:
        rows = Table.grid(padding=(0, 1))
        for cell in list(self.running.values())[:_SHOWN]:
            bar = ProgressBar(total=cell.total or 1, completed=cell.done, width=24)
            steps = f"{cell.done}/{cell.total}" if cell.total else ""
            rows.add_row(cell.task.name, cell.phase, bar, steps)
        return Group(rows, Text(self._summary(), style="bold"))
