"""The runs that a command asks for, kept with the looks at their tables before they start.

A table can then tell a suite that is still running, whose verdicts do not count yet, from one to
which runs were added after a look.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from transfer.records import look_log
from transfer.records.cells import Task
from transfer.records.look_log import LookLog
from transfer.scheduling.schedule import record_path


def by_table(tasks: Iterable[Task], baseline: str) -> dict[Path, list[Task]]:
    """Runs by the file of the looks at their table."""
    groups: dict[Path, list[Task]] = {}
    for task in tasks:
        cell = task.cell.plain()
        cell["overrides"] = _as_recorded(task.cell.overrides)
        path = look_log.path_of(record_path(task).parent, cell, baseline)
        groups.setdefault(path, []).append(task)
    return groups


def keep_asked(tasks: Iterable[Task], baseline: str, margin: float | None) -> None:
    """Keep the numbers of runs, and the margin, before any of the runs starts.

    Args:
        tasks: The runs.
        baseline: Row that gains are computed against.
        margin: Largest difference, in points, that does not matter; None if none is fixed.

    Raises:
        UserError: Another margin was fixed before a look, or the folder is not writable.
    """
    for path, group in by_table(tasks, baseline).items():
        log = look_log.read(path, baseline) or LookLog(baseline=baseline)
        if (log.looks or log.plan) and log.margin != margin:
            before = "none" if log.margin is None else f"{log.margin:g}"
            raise UserError(
                f"The margin of this table was fixed as {before} before its first look "
                f"('{path.absolute()}') and cannot change after it: leave 'margin' as it was."
            )
        runs = Counter(task.cell.backbone for task in group)
        asked = {row: max(runs[row], log.asked.get(row, 0)) for row in {**log.asked, **runs}}
        look_log.write(path, dataclasses.replace(log, asked=asked, margin=margin))


def _as_recorded(overrides: Sequence[Any]) -> list[Any]:
    """Settings as JSON has them, with lists for tuples."""

    def plain(value: Any) -> Any:
        return [plain(one) for one in value] if isinstance(value, tuple | list) else value

    return [plain(pair) for pair in overrides]
