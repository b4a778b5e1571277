"""``--dry-run``: the planned runs and their cost."""

from __future__ import annotations

import argparse

from rich.console import Console

from backbones.common.screen import screen
from transfer.cli.dry_run import print_costs, require_published, require_usable_networks
from transfer.driver.arguments import looks_of
from transfer.driver.checks import check_settings, require_all_writable, unrecorded
from transfer.driver.earlier import durations_of, read_records
from transfer.driver.fitting import jobs_of, on_a_card
from transfer.driver.planning import planned, print_remarks, tasks_of
from transfer.plan.best_fine_tunings import advice
from transfer.plan.request import Plan
from transfer.records.cells import Task
from transfer.scheduling.looks_cost import cost_of_looks


def print_dry_run(args: argparse.Namespace, processes: int) -> int:
    """Print the dry run."""
    console = screen()
    plan = planned(args, processes)
    tasks = tasks_of(plan, args)
    print_remarks(plan, console)
    check_settings(tasks)
    require_usable_networks(plan.cells, args.results)
    require_published(plan.cells, args.results)
    _print_costs(plan, tasks, args, console)
    require_all_writable(unrecorded(tasks))
    return 0


def _print_costs(plan: Plan, tasks: list[Task], args: argparse.Namespace, console: Console) -> None:
    """Print the planned runs and their cost, after timing those without a time if asked."""
    found, _ = read_records(args.results, plan.data)
    durations = durations_of(found)
    if args.probe:
        for task in unrecorded(tasks):
            if not durations.knows(task.cell):
                from transfer.finetune.probe import probe

                console.print(f"timing {task.name}", highlight=False, soft_wrap=True)
                probe(task)
                durations = durations_of(found)
    jobs = jobs_of(args, tasks, durations)
    if not args.ray:
        durations.expect(on_a_card(jobs))
    print_costs(
        plan.cells,
        results=args.results,
        durations=durations,
        jobs=jobs,
        console=console,
    )
    for line in advice(plan.cells, found, plan.baseline):
        console.print(line, highlight=False, soft_wrap=True)
    if args.until_decided:
        for line in cost_of_looks(plan.cells, plan.baseline, looks_of(args), plan.margin):
            console.print(line, highlight=False, soft_wrap=True)
