"""The driver: ``python transfer/run.py --backbone resnet50d_tricks``.

Turns a classifier into a detector and a segmenter, measures both, and prints what was gained over
its control.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":
    # Started as a script, this folder would come first on the path, and what lies in it would
    # shadow libraries of that name (timm imports ``datasets``). The checkout takes its place.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rich.console import Console

from backbones.hardware import PRECISIONS
from transfer.datasets.catalogue import default_data_root
from transfer.plan.cells import Cell
from transfer.plan.protocols import TASKS
from transfer.plan.request import Plan, Request, make_plan
from transfer.report import records
from transfer.report.terminal import screen

SUMMARY = "fine-tune a backbone and its control, and print what was gained"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add("--backbone", required=True, help="row of the zoo, timm/<name>, or a .toml of your own")
    add("--task", choices=(*TASKS, "all"), default="all")
    add("--against", default="auto", help="row to compare with: auto (its control), NAME or none")
    add("--data", default="auto", help="data set or .toml (default: voc0712, ade20k, or sample)")
    add("--data-root", type=Path, default=default_data_root(), help="folder of the data sets")
    add("--protocol", default="auto", help="quick, openmmlab (default: by data and machine)")
    add("--weights", default="auto", help="auto, none, a file, timm:<model>.<tag> or an address")
    add("--precision", choices=("auto", *PRECISIONS), default="auto")
    add("--seed", type=int, default=0, help="of the fine-tuning")
    add("--classifier-seed", type=int, default=0, help="of classifiers trained for the sample")
    add(
        "--evaluate-every",
        type=int,
        default=0,
        metavar="N",
        help="evaluate on the way too, every N epochs (iterations in protocols that count those)",
    )
    add("--work-dir", type=Path, default=Path("work_dirs"), help="logs and states to resume from")
    add("--results", type=Path, default=Path("results"), help="folder of the records")
    add("--dry-run", action="store_true", help="say what would be run, and stop")


def run(args: argparse.Namespace) -> int:
    """Run the cells that have no record yet, and print the tables.

    Raises:
        UserError: Something has to be mended first; nothing half-done is recorded.
    """
    console = screen()
    request = _request(args)
    plan = make_plan(request)
    for remark in plan.remarks:
        console.print(remark, highlight=False, soft_wrap=True)
    if args.dry_run:
        _print_plan(plan, args.results, console)
        return 0
    todo = [cell for cell in plan.cells if not _record_path(cell, args.results).exists()]
    if todo:
        _run_cells(todo, plan, request, args, console)
    _print_tables(plan, args.results, console)
    return 0


def _request(args: argparse.Namespace) -> Request:
    return Request(
        backbone=args.backbone,
        tasks=TASKS if args.task == "all" else (args.task,),
        against=args.against,
        data=args.data,
        data_root=args.data_root,
        protocol=args.protocol,
        weights=args.weights,
        precision=args.precision,
        seed=args.seed,
        classifier_seed=args.classifier_seed,
    )


def _record_path(cell: Cell, results: Path) -> Path:
    return records.path_of(results, cell.data, cell.name, cell.id)


def _run_cells(
    todo: list[Cell], plan: Plan, request: Request, args: argparse.Namespace, console: Console
) -> None:
    from backbones.runtime.console import StepBar
    from transfer.engine.cell_run import run_cell
    from transfer.plan.request import load_data

    for number, cell in enumerate(todo, start=1):
        data = load_data(cell.data if request.data == "auto" else request.data, request.data_root)
        title = f"[{number}/{len(todo)}] {cell.task} {cell.backbone}"
        with StepBar(title) as bar:
            row = plan.rows[cell.backbone]
            path = run_cell(
                cell, row, data, args.results, args.work_dir, bar.step, args.evaluate_every
            )
        record = records.read(path)
        seconds = sum(record.content["seconds"].values())
        console.print(f"{title}: {record.metric} {record.value:.2f} % in {seconds:.0f} s")


def _print_plan(plan: Plan, results: Path, console: Console) -> None:
    from rich.table import Table

    shown = Table(title="What would be run")
    for name in ("task", "backbone", "classifier", "data", "protocol", "precision", "state"):
        shown.add_column(name)
    for cell in plan.cells:
        done = _record_path(cell, results).exists()
        shown.add_row(
            cell.task,
            cell.backbone,
            cell.weights or "random",
            cell.data,
            cell.protocol,
            cell.precision,
            "recorded" if done else "to do",
        )
    console.print(shown)


def _print_tables(plan: Plan, results: Path, console: Console) -> None:
    """The tables that the plan's records stand in, with every seed there is of their rows."""
    from transfer.report.gains import Setting, gain_tables
    from transfer.report.terminal import print_gains

    asked = [records.read(_record_path(cell, results)) for cell in plan.cells]
    settings = {Setting.of(record) for record in asked}
    rows = {cell.backbone for cell in plan.cells}
    found, unreadable = records.read_all(results, plan.cells[0].data)
    standing = [r for r in found if Setting.of(r) in settings and r.cell["backbone"] in rows]
    for sentence in unreadable:
        console.print(sentence, highlight=False, soft_wrap=True)
    for table in gain_tables(standing, plan.baseline):
        print_gains(table, console)


def main(arguments: list[str] | None = None) -> int:
    """The driver as a script."""
    from transfer.cli import guarded

    parser = argparse.ArgumentParser(prog="python transfer/run.py", description=SUMMARY)
    add_arguments(parser)
    return guarded(run, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
