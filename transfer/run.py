"""The driver: ``python transfer/run.py --backbone resnet50d_tricks``.

Fine-tunes a classifier as a detector and as a segmenter, evaluates both, and prints the gain over
its control.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

if __name__ == "__main__":
    # A script's own folder comes first on the path, where its subfolders would shadow libraries of
    # the same name (timm imports ``datasets``). The checkout takes its place.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from backbones.common import hardware
from backbones.common.screen import screen
from backbones.common.versions import versions
from backbones.runtime import ranks
from backbones.runtime.command import guarded
from transfer.datasets import catalogue
from transfer.driver.arguments import add_arguments, refuse_unfit_arguments
from transfer.driver.checks import check_before
from transfer.driver.costs import print_dry_run
from transfer.driver.fitting import jobs_of
from transfer.driver.here import run_here
from transfer.driver.planning import planned, print_remarks, tasks_of
from transfer.driver.workers import run_in_workers, run_until_decided
from transfer.scheduling.asked_runs import keep_asked

SUMMARY = "fine-tune a backbone and its control, or a suite, and print the gain"


def run(args: argparse.Namespace) -> int:
    """Run the cells that have no record yet, and print the tables.

    Returns:
        0 when every cell has its record, 1 when some cells of a suite failed.

    Raises:
        UserError: The user has to fix something first; no partial result is recorded.
    """
    refuse_unfit_arguments(args)
    hardware.require_asked_gpus()
    place = ranks.place_of(args.launcher)
    if args.dry_run:
        return print_dry_run(args, place.of) if place.rank == 0 else 0
    with ranks.together(args.launcher, versions()):
        return _run(args)


def _run(args: argparse.Namespace) -> int:
    """Run the request, in one process or in several together; one of them prints."""
    console = screen(quiet=not ranks.is_main())
    plan = ranks.on_main(lambda: planned(args, ranks.world_size()))
    print_remarks(plan, console)
    tasks = tasks_of(plan, args)
    here = ranks.world_size() > 1 or (not args.suite and jobs_of(args, tasks) == 1)
    notes = ranks.on_main(lambda: check_before(tasks, here, not args.ray))
    for note in notes if ranks.is_main() else []:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    if args.tensorboard:
        console.print(_where_curves_are(args.work_dir), highlight=False, soft_wrap=True)
    if plan.baseline and not args.until_decided:
        ranks.on_main(lambda: keep_asked(tasks, plan.baseline, plan.margin))
    if args.until_decided:
        failed = run_until_decided(tasks, plan, args, console)
    elif here:
        run_here(tasks, console)
        failed = False
    else:
        failed = run_in_workers(tasks, args, console)
    if ranks.is_main():
        from transfer.driver.tables import print_ending, print_tables  # loads the statistics

        tables = print_tables(plan, args.results, console)
        if args.backbone and catalogue.SAMPLE in plan.data:
            print_ending(tables, args, console)
    return int(failed)


def _where_curves_are(work_dir: Path) -> str:
    folder = work_dir.absolute()
    return (
        f"TensorBoard files go to '{folder}/RUN/TIME/vis_data', one folder for each run. View them "
        f"with: tensorboard --logdir {shlex.quote(str(folder))}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the driver as a script."""
    parser = argparse.ArgumentParser(prog="python transfer/run.py", description=SUMMARY)
    add_arguments(parser)
    return guarded(run, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
