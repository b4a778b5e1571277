"""Runs one after another, in this process and those launched with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from backbones.common.errors import UserError
from backbones.runtime import ranks, stopping
from backbones.runtime.console import StepBar
from transfer.driver.outlook import print_outlook
from transfer.plan.forecast import Forecast
from transfer.records import records
from transfer.records.cells import Task
from transfer.records.lease import Leases, owned_together
from transfer.scheduling.schedule import clear_checkpoints, leases_of, record_path


def run_here(tasks: list[Task], console: Console) -> None:
    """Run cells one after another, in this process and those launched with it, until one fails.

    Raises:
        UserError: A cell could not run, or another driver has taken its lease.
        KeyboardInterrupt: The user stopped the run; its checkpoint is saved.
    """
    todo = ranks.on_main(lambda: _todo(tasks))
    outlook = print_outlook(todo, 1, console) if ranks.is_main() else None
    with stopping.on_signals(), _as_keyboard_interrupt():
        for number, task in enumerate(todo, start=1):
            title = f"[{number}/{len(todo)}] {task.cell.task} {task.cell.backbone}"
            leases = Leases(leases_of(task))
            done = record_path(task).exists
            with owned_together(leases, task.name, done, console.print) as ours:
                if ours:
                    _run_cell(task, title, number - 1, outlook)
            if not ours or not ranks.is_main():
                continue
            record = records.read(record_path(task))
            seconds = sum(record.content["seconds"].values())
            console.print(f"{title}: {record.measure} {record.value:.2f} % in {seconds:.0f} s")


def _todo(tasks: list[Task]) -> list[Task]:
    """Tasks without a record; leftover checkpoints of the others are removed."""
    todo = []
    for task in tasks:
        if record_path(task).exists():
            clear_checkpoints(task)
        else:
            todo.append(task)
    return todo


def _run_cell(task: Task, title: str, number: int, outlook: Forecast | None) -> None:
    from transfer.finetune.cell_run import run_cell

    if not ranks.is_main():
        run_cell(task, None)
        return
    with StepBar(title, outlook.left if outlook else None) as bar:

        def listener(phase: str, done: int, total: int) -> None:
            if outlook:
                outlook.step(number, phase, done, total)
            bar.step(phase, done, total)

        run_cell(task, listener)


@contextmanager
def _as_keyboard_interrupt() -> Iterator[None]:
    try:
        yield
    except stopping.Superseded as error:
        reason = str(error)
        raise UserError(
            f"{reason[0].upper()}{reason[1:]}. This process wrote nothing after that; run the same "
            "command again to wait for the other driver's result."
        ) from error
    except stopping.Interrupted as error:
        raise KeyboardInterrupt from error
