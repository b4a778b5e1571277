"""From options to planned runs: the cells of a backbone or a suite, as tasks."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import replace

from rich.console import Console

from transfer.driver.arguments import looks_of
from transfer.plan import suites
from transfer.plan.request import Plan, Request, make_plan
from transfer.plan.sample_classifiers import OF_SAMPLE, TRAINED
from transfer.plan.shards import Shard
from transfer.plan.suite_cells import Choice, make_suite_plan
from transfer.protocols.protocols import TASKS
from transfer.records.cells import Cell, Task


def planned(args: argparse.Namespace, processes: int) -> Plan:
    """The runs that the options ask for.

    Args:
        args: Options of the command.
        processes: Processes that share each run.

    Raises:
        UserError: The request cannot be planned; nothing was started.
    """
    tasks = TASKS if args.task == "all" else (args.task,)
    if args.suite:
        choice = Choice(
            data_root=args.data_root,
            tasks=tasks,
            data=args.data,
            protocol=args.protocol,
            precision=args.precision,
            seeds=args.seeds,
            units=looks_of(args)[-1] if args.until_decided else None,
            only=args.only,
            shard=Shard.parse(args.shard) if args.shard is not None else None,
            processes=processes,
            without_data=args.dry_run,
        )
        plan = make_suite_plan(suites.load(args.suite), choice)
        return plan if args.margin is None else replace(plan, margin=args.margin)
    request = Request(
        backbone=args.backbone,
        tasks=tasks,
        against=args.against,
        data=args.data,
        data_root=args.data_root,
        protocol=args.protocol,
        weights="none" if args.weights == "random" else args.weights,
        precision=args.precision,
        seed=args.seed,
        classifier_seed=args.classifier_seed,
        processes=processes,
    )
    return make_plan(request)


def tasks_of(plan: Plan, args: argparse.Namespace) -> list[Task]:
    """Each planned run with its folders and the command that repeats it."""
    backends = {"tensorboard": "TensorboardVisBackend", "wandb": "WandbVisBackend"}
    return [
        Task(
            cell=cell,
            row=plan.rows[cell.backbone],
            data=plan.data[cell.data],
            data_root=args.data_root,
            results=args.results,
            work_dir=args.work_dir,
            command=_command(args, cell),
            backends=tuple(backend for name, backend in backends.items() if getattr(args, name)),
            save_minutes=args.save_minutes,
            evaluate_every=args.evaluate_every,
            storage=args.state_storage,
            baseline=plan.baseline,
            variant=plan.variant,
        )
        for cell in plan.cells
    ]


def _command(args: argparse.Namespace, cell: Cell) -> str:
    """The command that runs one cell again."""
    given = ["transfer", "run"]
    if args.suite:
        seeds = ["--seeds", str(args.seeds)] if args.seeds else []
        if args.until_decided:
            seeds = ["--seeds", str(looks_of(args)[-1])]
        given += ["--suite", args.suite, *seeds, "--only", cell.id]
    else:
        given += ["--backbone", args.backbone, "--against", args.against]
        of_sample = args.weights == "auto" and cell.weights.startswith(OF_SAMPLE)
        given += ["--weights", TRAINED if of_sample else args.weights, "--seed", str(args.seed)]
        given += ["--classifier-seed", str(args.classifier_seed)]
    protocol = args.protocol if cell.protocol_config else cell.protocol
    given += ["--task", cell.task, "--data", args.data, "--protocol", protocol]
    return shlex.join([*given, "--precision", cell.precision])


def print_remarks(plan: Plan, console: Console) -> None:
    """Print what the plan has to say about the request."""
    for remark in plan.remarks:
        console.print(remark, highlight=False, soft_wrap=True)
