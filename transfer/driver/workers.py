"""Runs in worker processes, side by side: on this machine or on a cluster."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from backbones.common.errors import UserError
from backbones.runtime import stopping
from backbones.runtime.console import StepBar
from transfer.datasets import catalogue
from transfer.driver.arguments import looks_of
from transfer.driver.checks import unrecorded
from transfer.driver.earlier import durations_of, read_records
from transfer.driver.fitting import (
    is_packed,
    jobs_of,
    learn_needs,
    on_a_card,
    room_of,
    sentence,
)
from transfer.driver.outlook import print_outlook
from transfer.plan.durations import Durations
from transfer.plan.request import Plan, load_data
from transfer.records.cells import Task
from transfer.scheduling.process import ProcessExecutor
from transfer.scheduling.schedule import Schedule, record_path
from transfer.scheduling.until_decided import UntilDecided
from transfer.scheduling.view import SuiteView

if TYPE_CHECKING:
    from transfer.scheduling.cluster import ClusterExecutor


def run_in_workers(tasks: list[Task], args: argparse.Namespace, console: Console) -> bool:
    """Run every cell in workers, and return whether some failed.

    Raises:
        UserError: A run of ``--backbone`` failed; the others have their records.
        KeyboardInterrupt: The user stopped the runs; their checkpoints are saved.
    """
    durations = durations_of(read_records(args.results, {task.cell.data for task in tasks})[0])
    todo = [] if args.ray else unrecorded(tasks)
    if any(task.data == catalogue.SAMPLE for task in todo):
        with StepBar("the sample") as bar:  # here, or each worker would draw it
            load_data(catalogue.SAMPLE, Path(), partial(bar.step, "draw"))
    if todo and is_packed(args):
        learn_needs(todo, durations, console)
    executor = _executor(args, tasks, durations)
    jobs = min(executor.jobs, len(tasks))
    if not args.ray:
        durations.expect(on_a_card(jobs))
    if todo and is_packed(args):
        console.print(sentence(jobs), highlight=False, soft_wrap=True)
    outlook = print_outlook(todo, jobs, console)
    forecasted = (outlook, [task.name for task in todo]) if outlook else None
    with (
        stopping.on_signals(),
        SuiteView(len(tasks), console, durations, jobs, forecasted) as view,
    ):
        schedule = Schedule(
            tasks,
            jobs=jobs,
            retry=args.retry,
            executor=executor,
            watcher=view,
            room=None if args.ray else room_of(args, durations),
        )
        tally = schedule.run()
    if tally.failed and not args.suite:
        raise UserError("\n".join(dict.fromkeys(reason for _, reason in tally.failed)))
    summary = f"{len(tally.done)} of {len(tasks)} runs have a record"
    if tally.failed:
        summary += f"; {len(tally.failed)} failed; the next call retries them"
    if args.suite:
        console.print(f"suite {args.suite}: {summary}", highlight=False, soft_wrap=True)
    return bool(tally.failed)


def run_until_decided(
    tasks: list[Task], plan: Plan, args: argparse.Namespace, console: Console
) -> bool:
    """Run the seeds of a suite look after look, and return whether some runs failed."""
    suite = UntilDecided(tasks, plan.baseline, looks_of(args), plan.margin)
    return suite.run(lambda chosen: run_in_workers(chosen, args, console))


def _executor(
    args: argparse.Namespace, tasks: list[Task], durations: Durations
) -> ProcessExecutor | ClusterExecutor:
    """The executor of a suite's cells."""
    if not args.ray:
        return ProcessExecutor(jobs_of(args, tasks, durations), args.work_dir)
    from transfer.scheduling.cluster import ClusterExecutor

    estimates = [durations.of(task.cell) for task in tasks]
    peaks = [e.host_bytes for e in estimates if e and e.host_bytes]
    executor = ClusterExecutor(args.ray, args.jobs, max(peaks, default=None))
    executor.require_fit(task for task in tasks if not record_path(task).exists())
    return executor
