"""Seeds in planned looks: each row of a suite runs until it is decided.

The looks at each table are kept in the results folder, so that a killed suite resumes with the same
plan, and the intervals stay valid (:mod:`transfer.stats.looks`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbones.common.errors import UserError
from transfer.records import look_log, records
from transfer.records.cells import Cell, Task
from transfer.records.look_log import LookLog
from transfer.report.gains import controls_of, observation
from transfer.report.looks_at import at_look, is_decided, look_of
from transfer.scheduling.asked_runs import by_table
from transfer.scheduling.schedule import record_path

DEFAULT_LOOKS = (3, 5, 8, 12)


def parse_looks(text: str) -> tuple[int, ...]:
    """The planned looks.

    Raises:
        UserError: They are not increasing numbers of 2 or more, or too large for any table.
    """
    try:
        looks = tuple(int(part) for part in text.split(","))
    except ValueError:
        looks = ()
    if not looks or looks[0] < 2 or list(looks) != sorted(set(looks)):
        raise UserError(
            f"--looks takes increasing numbers of units, the first at least 2, such as "
            f"{','.join(map(str, DEFAULT_LOOKS))}; it was '{text}'."
        )
    _refuse_too_large(looks, 2)
    return looks


def require_fit(cells: Sequence[Cell], baseline: str, looks: tuple[int, ...]) -> None:
    """Check that planned looks can judge the tables of a suite.

    Args:
        cells: The runs of all planned looks.
        baseline: Row that gains are computed against.
        looks: Units of each row at the looks.

    Raises:
        UserError: There is no baseline, a table has no row beside it, or the plan is too large.
    """
    if not baseline:
        raise UserError("--until-decided needs a suite with a 'baseline'.")
    for task in dict.fromkeys(cell.task for cell in cells):
        rows = {cell.backbone for cell in cells if cell.task == task}
        if baseline not in rows or len(rows) < 2:
            raise UserError(
                f"--until-decided compares rows with the baseline '{baseline}', but {task} "
                f"has no other row or lacks it; its rows: {', '.join(sorted(rows))}."
            )
        _refuse_too_large(looks, len(rows))


def _refuse_too_large(looks: tuple[int, ...], rows: int) -> None:
    if look_log.is_too_large(looks, rows):
        raise UserError(
            f"--looks {','.join(map(str, looks))} is too large for a table of {rows} rows: plan "
            "fewer looks, or fewer units."
        )


@dataclass
class _Table:
    """The runs of one table, with its looks."""

    path: Path
    log: LookLog
    tasks: list[Task]

    @property
    def number(self) -> int:
        return len(self.log.looks)

    @property
    def active(self) -> list[str]:
        """Rows that are not decided; nothing once every look was taken."""
        if self.number >= len(self.log.plan):
            return []
        if not self.log.looks:
            rows = dict.fromkeys(task.cell.backbone for task in self.tasks)
            return [row for row in rows if row != self.log.baseline]
        verdicts = self.log.looks[-1].verdicts
        return [row for row, verdict in verdicts.items() if not is_decided(verdict)]

    def next_tasks(self) -> list[Task]:
        """The runs that the next look needs."""
        rows = self.active
        if not rows:
            return []
        wanted, units = {self.log.baseline, *rows}, self.log.plan[self.number]
        return [t for t in self.tasks if t.cell.backbone in wanted and t.cell.seed < units]

    def take_look(self) -> bool:
        """Judge the finished runs and keep the look; False if one of them is missing."""
        tasks = self.next_tasks()
        paths = [record_path(task) for task in tasks]
        if not all(path.exists() for path in paths):
            return False
        read = [records.read(path) for path in paths]
        by_row: dict[str, list[records.Record]] = {}
        for record in read:
            by_row.setdefault(record.cell["backbone"], []).append(record)
        found = at_look(
            [observation(record, record.value) for record in read],
            self.log,
            self.active,
            self.number,
            controls=controls_of({row: records[0].cell for row, records in by_row.items()}),
        )
        self.log = self.log.after(look_of(found))
        look_log.write(self.path, self.log)
        return True


class UntilDecided:
    """A suite that stops each of its rows when it is decided."""

    def __init__(
        self, tasks: Sequence[Task], baseline: str, looks: tuple[int, ...], margin: float | None
    ) -> None:
        """Find the looks that were taken before.

        Raises:
            UserError: The plan does not fit the suite, or earlier looks followed another one.
        """
        require_fit([task.cell for task in tasks], baseline, looks)
        self.tables: list[_Table] = []
        for path, group in by_table(tasks, baseline).items():
            log = look_log.read(path, baseline)
            if log is None or not (log.plan or log.looks):
                log = LookLog(baseline=baseline, plan=looks, margin=margin)
            _require_same(path, log, looks, margin)
            self.tables.append(_Table(path, log, group))

    def run(self, run_tasks: Callable[[list[Task]], bool]) -> bool:
        """Run look after look until every row is decided or the plan ends.

        Args:
            run_tasks: Runs tasks and returns whether some failed.

        Returns:
            Whether some runs failed, so that a look could not be taken.
        """
        for table in self.tables:
            look_log.write(table.path, table.log)
        while tasks := self.next_tasks():
            failed = run_tasks(tasks)
            taken = [table.take_look() for table in self.tables if table.active]
            if failed or not all(taken):
                return True
        return False

    def next_tasks(self) -> list[Task]:
        """The runs that the next looks need."""
        return [task for table in self.tables for task in table.next_tasks()]


def _require_same(path: Path, log: LookLog, looks: tuple[int, ...], margin: float | None) -> None:
    """Check that earlier looks followed this plan."""
    if not log.plan:
        raise UserError(
            f"Verdicts of this table were looked at without a plan ('{path.absolute()}'), so "
            "--until-decided cannot start: use another results folder, or run the suite without "
            "--until-decided."
        )
    if (log.plan, log.margin) != (looks, margin):
        before = f"--looks {','.join(map(str, log.plan))}"
        if log.margin is not None:
            before += f" --margin {log.margin:g}"
        raise UserError(
            f"The looks of this table were planned with {before} ('{path.absolute()}'), and a "
            "plan cannot change after a look: run the same command again with these options."
        )
