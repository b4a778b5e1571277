"""The forecast that is printed before runs on the sample start."""

from __future__ import annotations

from rich.console import Console

from transfer.datasets import catalogue
from transfer.plan.forecast import Forecast, forecast
from transfer.records.cells import Task
from transfer.records.wording import count

SMALL = (catalogue.SAMPLE, "quick")


def print_outlook(todo: list[Task], jobs: int, console: Console) -> Forecast | None:
    """The forecast of runs on the sample, which is printed too; None for other data."""
    if not todo or any((task.cell.data, task.cell.protocol) != SMALL for task in todo):
        return None
    from transfer.finetune.pace import pace

    outlook = forecast([task.cell for task in todo], pace(), jobs)
    if outlook:
        minutes = max(1, round(outlook.left() / 60))
        together = f", {jobs} at a time" if jobs > 1 else ""
        runs, time = count(len(todo), "run"), count(minutes, "minute")
        console.print(f"{runs}{together}: about {time} here.")
    return outlook
