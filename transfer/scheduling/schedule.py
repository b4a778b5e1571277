"""Runs cells to the end: in parallel, beside other drivers, despite failures and stop requests.

A cell is done when its record exists, whoever wrote it. The holder of its lease runs it
(:mod:`transfer.records.lease`); the driver takes leases on behalf of its workers, so a cell is
free only once the process that ran it is dead.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from backbones.common.errors import UserError
from backbones.runtime import state_files, stopping
from transfer.records import failures, records
from transfer.records.cells import Cell, Task
from transfer.records.lease import Lease, Leases
from transfer.scheduling.executor import Executor, Worker
from transfer.scheduling.room import Room

_LOOK_EVERY = 2.0  # seconds between two checks of a cell that another driver runs
_LOSSES = 5  # losses of its machine after which a cell itself is blamed
_PATIENCE = 60.0  # seconds without a usable disk, while nothing runs
_SAVING = 300.0  # seconds for running cells to save when the driver must end
_WAIT = 0.25  # seconds; bounds the reaction time to a signal


def record_path(task: Task) -> Path:
    """The file of a cell's record."""
    return records.path_of(task.results, task.cell)


def leases_of(task: Task) -> Path:
    """The folder of the leases, beside that of the records."""
    return record_path(task).parent.with_name("leases")


def clear_checkpoints(task: Task) -> None:
    """Remove the checkpoints of a recorded cell, which a kill may have left behind.

    They stay while another driver, with another results folder, works in the same folder. Without
    local checkpoints there is no remote copy either, since the local ones are removed last.
    """
    checkpoints = task.place / state_files.FOLDER
    with contextlib.suppress(UserError, OSError):
        if checkpoints.is_dir() and (lease := Leases(task.work_leases).take(task.name)):
            if task.state_copy:
                from backbones.runtime import storage  # as slow as torch to import

                storage.forget(task.state_copy)
            state_files.forget(checkpoints)
            lease.finish()


@dataclass(kw_only=True)
class Job:
    """A cell that is not done.

    Attributes:
        task: The task to run.
        failed: Attempts that failed in this run.
        lost: Attempts that were lost with their machine.
        look_at: When to check again whether another driver runs it, in monotonic seconds.
        elsewhere: The other driver that runs it, or empty.
    """

    task: Task
    failed: int = 0
    lost: int = 0
    look_at: float = 0.0
    elsewhere: str = ""


@dataclass
class Tally:
    """The progress of the cells.

    Attributes:
        done: Cells with a record.
        failed: Cells given up in this run, with the reason.
        waiting: Cells not started, or started by another driver.
    """

    done: list[Task] = field(default_factory=list)
    failed: list[tuple[Task, str]] = field(default_factory=list)
    waiting: deque[Job] = field(default_factory=deque)


class Watcher(Protocol):
    """Displays the progress."""

    def started(self, task: Task, where: str) -> None:
        """A cell has started or resumed."""

    def stepped(self, task: Task, phase: str, done: int, total: int) -> None:
        """A cell has reached a step."""

    def refused(self, task: Task, reason: str) -> None:
        """A cell could not start because of the disk; it is retried with the others."""

    def left(self, task: Task) -> None:
        """A cell has stopped here unfinished."""

    def finished(self, task: Task, here: bool) -> None:
        """A cell has its record."""

    def crowded(self, task: Task, reason: str, most: int) -> None:
        """Memory ran out beside other runs: the cell waits, with fewer side by side from now on."""

    def failed(self, task: Task, reason: str, again: bool) -> None:
        """A cell has failed."""

    def refresh(self, tally: Tally) -> None:
        """Update the display."""


@dataclass(frozen=True)
class _Run:
    """A cell that a worker runs, with its lease."""

    job: Job
    lease: Lease


@dataclass
class _Slot:
    """A place for one worker, with its current cell."""

    number: int
    worker: Worker | None = None
    run: _Run | None = None
    sharing: int = 1  # runs on its card, as the worker was informed


def _has_no_place(slot: _Slot) -> bool:
    """Whether a slot's worker is started but cannot take a cell yet."""
    return slot.worker is not None and not slot.worker.where


class Schedule:
    """Assigns the cells of a run to workers.

    Args:
        tasks: The cells in starting order.
        jobs: Cells in parallel.
        retry: Retries of a cell that fails.
        executor: Starts the workers.
        watcher: Is notified of the progress.
        room: Which cells may run side by side on this machine; None if every worker has a place of
            its own.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        *,
        jobs: int,
        retry: int,
        executor: Executor,
        watcher: Watcher,
        room: Room | None = None,
    ) -> None:
        self.tally = Tally()
        for task in tasks:
            if record_path(task).exists():
                clear_checkpoints(task)
                Leases(leases_of(task)).clear(task.name)
                self.tally.done.append(task)
            else:
                self.tally.waiting.append(Job(task=task))
        self.retry = retry
        self.executor = executor
        self.watcher = watcher
        self.room = room
        self.slots = [_Slot(number) for number in range(jobs)]
        self.leases: dict[Path, Leases] = {}
        self.unplaced: list[str] = []  # reasons of workers lost before any took a cell
        self.refused = False  # whether the last attempt to start a cell was refused
        self.well_at = -math.inf  # last time when a cell ran or could start; monotonic seconds

    def run(self) -> Tally:
        """Run until every cell is done or given up, or until a stop is requested.

        If an error ends the driver, running cells save first, as after a stop request.

        Raises:
            UserError: Nothing runs and the disk lets no cell start, or no worker starts.
            KeyboardInterrupt: Stopped; running cells have saved a checkpoint.
        """
        try:
            try:
                while not stopping.requested() and (self.tally.waiting or self._running()):
                    self._hand_out()
                    self._listen()
                    self.watcher.refresh(self.tally)
            except Exception:
                self._stop(_SAVING)
                raise
            if stopping.requested():
                self._stop()
                raise KeyboardInterrupt
        finally:
            for slot in self.slots:
                self._end_worker(slot)
        return self.tally

    def _running(self) -> list[_Slot]:
        return [slot for slot in self.slots if slot.run]

    def _hand_out(self) -> None:
        """Give each idle worker a cell that nobody runs."""
        if len(self.unplaced) > _LOSSES * len(self.slots):
            raise UserError(f"No worker can be started: {self.unplaced[-1]}.")
        idle = [slot for slot in self.slots if not slot.run and not _has_no_place(slot)]
        now = time.monotonic()
        due = [job for job in self.tally.waiting if job.look_at <= now] if idle else []
        for job in due:
            try:
                slot = self._slot_for(job, idle)
                if slot is None:
                    break
                if self._begin(slot, job) or _has_no_place(slot):
                    idle.remove(slot)
            except (UserError, OSError) as error:
                self._hold_back(job, error)
                return  # wait before the next: a disk may refuse thousands
            if not idle:
                break
        if due or self._running():
            self.well_at = now
        if self.room:
            self._share_out(self.room, idle)

    def _cells(self) -> dict[int, Cell]:
        """The running cells by the numbers of their workers."""
        return {slot.number: slot.run.job.task.cell for slot in self.slots if slot.run}

    def _slot_for(self, job: Job, idle: list[_Slot]) -> _Slot | None:
        """The idle slot for a cell, on the card with the fewest runs; None if none has room."""
        if self.room is None:
            return idle[0]
        room, cells = self.room, self._cells()
        free = [slot for slot in idle if room.admits(job.task.cell, slot.number, cells)]
        return min(
            free,
            key=lambda slot: (len(room.beside(slot.number, cells)), slot.number),
            default=None,
        )

    def _share_out(self, room: Room, idle: list[_Slot]) -> None:
        """Inform workers of the runs on their cards; end idle ones, which hold memory there."""
        cells = self._cells()
        for slot in idle:
            if room.beside(slot.number, cells):
                self._end_worker(slot)
        for slot in self._running():
            sharing = 1 + len(room.beside(slot.number, cells))
            if sharing != slot.sharing:
                slot.sharing = sharing
                assert slot.worker
                slot.worker.share(sharing)

    def _hold_back(self, job: Job, error: Exception) -> None:
        """A disk refused a cell: running cells continue, and the driver retries for a while.

        Raises:
            UserError: Nothing runs, and either nothing ever did or the patience is over.
        """
        now = time.monotonic()
        if isinstance(error, OSError):
            error = UserError(
                f"{job.task.name} cannot start ({error}); check that the disks of --results and "
                "--work-dir are readable and writable, and run the command again to resume."
            )
        if self._running():
            self.well_at = now
        elif now - self.well_at > _PATIENCE:
            raise error
        if not self.refused:
            self.watcher.refused(job.task, str(error))
        self.refused = True

    def _begin(self, slot: _Slot, job: Job) -> bool:
        """Start a cell unless another driver runs it or has finished it.

        Raises:
            UserError: Its lease cannot be taken now, though nobody holds it.
            OSError: Likewise.
        """
        task = job.task
        folder = leases_of(task)
        leases = self.leases.setdefault(folder, Leases(folder))
        job.look_at = time.monotonic() + _LOOK_EVERY
        if record_path(task).exists():
            self.tally.waiting.remove(job)
            self._finish(task, here=False)
            return False
        holder = leases.holder(task.name)
        job.elsewhere = str(holder or "")
        if holder:
            return False
        slot.worker = slot.worker or self.executor.start(slot.number)
        if not slot.worker.where:
            job.look_at = 0.0
            return False
        lease = leases.take(task.name, slot.worker.owner)
        if lease is None:
            return False
        try:
            finished = record_path(task).exists()  # between the first check and the lease
        except OSError:
            lease.give_back()
            raise
        self.tally.waiting.remove(job)
        if finished:
            lease.finish()
            self._finish(task, here=False)
            return False
        slot.run = _Run(job, lease)
        slot.sharing = 1
        slot.worker.hand(task)
        self.watcher.started(task, slot.worker.where)
        self.unplaced.clear()
        self.refused = False
        return True

    def _listen(self) -> None:
        """Handle the workers' messages; wait a moment if there are none."""
        workers = [slot.worker for slot in self.slots if slot.worker]
        if workers:
            self.executor.wait(workers, _WAIT)
        else:
            time.sleep(_WAIT)
        for slot in self.slots:
            for message in slot.worker.messages() if slot.worker else ():
                self._hear(slot, message)
            if slot.run and slot.run.lease.lost:
                self._put_back(slot, slot.run)

    def _hear(self, slot: _Slot, message: tuple) -> None:
        kind, *rest = message
        run = slot.run
        if run is None:  # an idle worker that died is replaced when needed
            self._end_worker(slot)
            if kind == "lost":
                self.unplaced.append(rest[0])
        elif kind == "step":
            self.watcher.stepped(run.job.task, *rest)
        elif kind == "done":
            self._done(slot, run)
        elif kind == "stopped":  # by this driver, or by a signal to this worker alone
            self._put_back(slot, run)
        elif kind == "lost" and run.job.lost < _LOSSES:  # the cell did not cause it
            run.job.lost += 1
            self._put_back(slot, run)
        elif kind == "memory" and (most := self._most_beside(slot, rest[1])):
            self.watcher.crowded(run.job.task, rest[0], most)
            self._put_back(slot, run)
        else:
            reason, detail = (rest[0], rest[1] if kind == "failed" else "")
            self._failed(slot, run, reason, detail)
            if kind != "failed" or detail:  # after a defect the process is not reliable
                self._end_worker(slot)

    def _most_beside(self, slot: _Slot, place: str) -> int | None:
        """The most runs side by side after memory ran out; None if that run was alone."""
        return self.room.ran_out(slot.number, place, self._cells()) if self.room else None

    def _done(self, slot: _Slot, run: _Run) -> None:
        task = run.job.task
        try:
            records.read(record_path(task))
        except UserError as error:
            self._failed(slot, run, str(error), "")
            return
        slot.run = None
        run.lease.finish()
        self._finish(task, here=True)

    def _finish(self, task: Task, *, here: bool) -> None:
        with contextlib.suppress(OSError):  # a failure beside a record is ignored
            failures.forget(record_path(task))
        clear_checkpoints(task)
        self.tally.done.append(task)
        self.watcher.finished(task, here)

    def _failed(self, slot: _Slot, run: _Run, reason: str, detail: str) -> None:
        job = run.job
        job.failed += 1
        again = job.failed <= self.retry
        when = datetime.now(timezone.utc).isoformat(timespec="seconds")
        kept = failures.Failure(
            cell=job.task.name, reason=reason, detail=detail, attempts=job.failed, when=when
        )
        try:
            failures.write(record_path(job.task), kept)
        except UserError as error:  # the disk that failed the cell may refuse this too
            reason = f"{reason} (not saved: {error})"
        run.lease.give_back()
        slot.run = None
        if again:
            job.look_at = 0.0
            self.tally.waiting.append(job)
        else:
            self.tally.failed.append((job.task, reason))
        self.watcher.failed(job.task, reason, again)

    def _put_back(self, slot: _Slot, run: _Run) -> None:
        """The cell is unfinished, and this worker no longer runs it."""
        self._end_worker(slot)
        run.lease.give_back()
        slot.run = None
        run.job.look_at = 0.0
        self.tally.waiting.appendleft(run.job)
        self.watcher.left(run.job.task)

    def _stop(self, seconds: float = math.inf) -> None:
        """Let every running cell save a checkpoint; a second request ends them immediately.

        Args:
            seconds: Time limit.
        """
        for slot in self._running():
            assert slot.worker
            slot.worker.stop()
        until = time.monotonic() + seconds
        while self._running() and time.monotonic() < until:
            self._listen()
            self.watcher.refresh(self.tally)

    def _end_worker(self, slot: _Slot) -> None:
        if slot.worker:
            slot.worker.kill()
            slot.worker = None
