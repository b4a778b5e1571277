"""What is checked before the first run starts: settings, data, weights and folders."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

from backbones.runtime import child_processes
from transfer.records import look_log
from transfer.records.cells import Task
from transfer.records.writable import require_writable
from transfer.scheduling.schedule import leases_of, record_path


def check_before(tasks: list[Task], in_process: bool, data_is_here: bool) -> list[str]:
    """Check the cells before the first one starts, and return remarks for the user.

    A suite's driver only starts workers and imports nothing heavy, so another process checks.
    """
    todo = unrecorded(tasks)
    require_all_writable(todo)
    if todo and in_process:
        return _require_sound(todo, data_is_here)
    if todo:
        # If that process is killed, it has found nothing; each cell then reports its own faults.
        with suppress(BrokenProcessPool), child_processes.pool(1) as one:
            return one.submit(_require_sound, todo, data_is_here).result()
    return []


def unrecorded(tasks: Iterable[Task]) -> list[Task]:
    """The tasks that have no record yet."""
    return [task for task in tasks if not record_path(task).exists()]


def require_all_writable(tasks: list[Task]) -> None:
    """Check that records, looks, leases and work folders are writable, unlike another user's."""
    folders = [
        pair
        for task in tasks
        for pair in (
            (record_path(task).parent, "--results"),
            (leases_of(task), "--results"),
            (record_path(task).parent.with_name(look_log.FOLDER), "--results"),
            (task.work_leases, "--work-dir"),
            (task.place, "--work-dir"),
        )
    ]
    work_dirs = {task.work_dir for task in tasks}
    require_writable(folders, [log for one in work_dirs for log in one.glob("worker-*.log")])


def check_settings(tasks: list[Task]) -> None:
    """Check a suite's settings, without reading data or importing anything heavy here."""
    changed = {
        (task.cell.task, task.cell.protocol, task.cell.data, task.cell.overrides): task
        for task in tasks
        if task.cell.overrides and task.cell.data_fingerprint  # the data set is on this machine
    }
    if changed:
        with suppress(BrokenProcessPool), child_processes.pool(1) as one:
            one.submit(_require_settings, list(changed.values())).result()


def _require_settings(tasks: list[Task]) -> None:
    from transfer.finetune.preflight import require_all_settings

    require_all_settings(tasks)


def _require_sound(tasks: list[Task], data_is_here: bool) -> list[str]:
    from transfer.finetune.preflight import require_sound

    return require_sound(tasks, data_is_here)
