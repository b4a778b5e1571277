"""The driver: ``python transfer/run.py --backbone resnet50d_tricks``.

Fine-tunes a classifier as a detector and as a segmenter, evaluates both, and prints the gain over
its control.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    # A script's own folder comes first on the path, where its subfolders would shadow libraries of
    # the same name (timm imports ``datasets``). The checkout takes its place.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rich.console import Console

from backbones.common import hardware
from backbones.common.arguments import require_at_least
from backbones.common.errors import UserError
from backbones.common.hardware import PRECISIONS
from backbones.common.screen import screen
from backbones.common.seeds import require_seed
from backbones.common.versions import versions
from backbones.runtime import child_processes, ranks, stopping
from backbones.runtime.command import guarded
from backbones.runtime.console import StepBar
from transfer.cli.dry_run import print_costs, require_usable_networks
from transfer.datasets import catalogue
from transfer.datasets.catalogue import default_data_root
from transfer.plan import probes, suites
from transfer.plan.best_fine_tunings import advice
from transfer.plan.durations import Durations
from transfer.plan.forecast import Forecast, forecast
from transfer.plan.request import Plan, Request, load_data, make_plan
from transfer.plan.sample_classifiers import OF_SAMPLE, TRAINED
from transfer.plan.shards import Shard
from transfer.plan.suite_cells import Choice, make_suite_plan
from transfer.protocols.protocols import TASKS
from transfer.records import records
from transfer.records.cells import Cell, Task
from transfer.records.lease import Leases, owned_together
from transfer.records.wording import count
from transfer.records.writable import require_writable
from transfer.scheduling.asked_runs import keep_asked
from transfer.scheduling.looks_cost import cost_of_looks
from transfer.scheduling.process import ProcessExecutor
from transfer.scheduling.schedule import Schedule, clear_checkpoints, leases_of, record_path
from transfer.scheduling.until_decided import DEFAULT_LOOKS, UntilDecided, parse_looks
from transfer.scheduling.view import SuiteView

if TYPE_CHECKING:
    from transfer.report.gains import GainTable
    from transfer.scheduling.cluster import ClusterExecutor

SUMMARY = "fine-tune a backbone and its control, or a suite, and print the gain"
_OF_A_BACKBONE = {"against": "auto", "weights": "auto", "seed": 0, "classifier_seed": 0}
_OF_A_SUITE = {
    **{"seeds": None, "only": "", "shard": None, "ray": None, "retry": 0},
    **{"until_decided": False, "looks": "", "margin": None},
}
_SMALL = (catalogue.SAMPLE, "quick")
_SMALL_BYTES = 2 * 10**9  # peak memory of a run of _SMALL, with the libraries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--backbone", help="row of the zoo, timm/<name>, or your own .toml file")
    what.add_argument("--suite", help="quick, paper, animals, lr-sweep, or your own .toml file")
    add = parser.add_argument
    add("--task", choices=(*TASKS, "all"), default="all")
    add(
        "--data",
        default="auto",
        help="data set or .toml file (default: voc0712, ade20k, or sample)",
    )
    add(
        "--data-root",
        type=Path,
        default=default_data_root(),
        help="folder that holds the data sets",
    )
    add(
        "--protocol",
        default="auto",
        help="quick, openmmlab or paper; for detection also paper-long, quick-coco and "
        "openmmlab-coco (default: chosen by data and machine)",
    )
    add("--precision", choices=("auto", *PRECISIONS), default="auto")
    add("--work-dir", type=Path, default=Path("work_dirs"), help="folder for logs and checkpoints")
    add(
        "--evaluate-every",
        type=int,
        default=0,
        metavar="N",
        help="evaluate during training too, every N epochs (every N iterations in protocols that "
        "count iterations)",
    )
    add("--save-minutes", type=float, default=10.0, help="checkpoint interval, in minutes")
    add("--state-storage", default="", metavar="URL", help="copy checkpoints to s3://… or file://…")
    add("--results", type=Path, default=Path("results"), help="results folder")
    add(
        "--launcher",
        choices=ranks.LAUNCHERS,
        default="auto",
        help="distributed launcher; torchrun is detected automatically",
    )
    add(
        "--jobs",
        type=int,
        help="runs in parallel (default: one for each GPU; without a GPU one, but for the sample "
        "as many as cores and memory allow)",
    )
    add("--dry-run", action="store_true", help="print the planned runs and their cost, then exit")
    add(
        "--probe",
        action="store_true",
        help="with --dry-run: time a few steps where no record gives a time",
    )
    add("--tensorboard", action="store_true", help="also write curves for TensorBoard")
    add("--wandb", action="store_true", help="also send curves to Weights & Biases")
    one = parser.add_argument_group("with --backbone").add_argument
    one("--against", default="auto", help="baseline: auto (the row's control), NAME or none")
    one(
        "--weights",
        default="auto",
        help="auto, none or random, sample (train on the sample, download nothing), a file, "
        "timm:<model>.<tag> or a URL",
    )
    one("--seed", type=int, default=0, help="seed of the fine-tuning")
    one("--classifier-seed", type=int, default=0, help="seed of classifiers trained on the sample")
    many = parser.add_argument_group("with --suite").add_argument
    many("--seeds", type=int, help="runs of each classifier (default: as the suite states)")
    many("--only", default="", help="only the runs whose name contains or matches this pattern")
    many(
        "--shard",
        metavar="I/N",
        help="run only part I of N equal parts, one for each of N machines",
    )
    many("--ray", metavar="ADDRESS", help="run on a Ray cluster: auto, HOST:PORT or ray://…")
    many(
        "--until-decided",
        action="store_true",
        help="run seeds in planned looks, and stop each row when it is decided",
    )
    many(
        "--looks",
        default="",
        metavar="N,N,…",
        help="with --until-decided: units of each row at the looks (default: "
        f"{','.join(map(str, DEFAULT_LOOKS))})",
    )
    many(
        "--margin",
        type=float,
        metavar="POINTS",
        help="a gain within this does not matter; fixed before the first look (default: as the "
        "suite states)",
    )
    many("--retry", type=int, default=0, help="number of retries of a run that fails")


def run(args: argparse.Namespace) -> int:
    """Run the cells that have no record yet, and print the tables.

    Returns:
        0 when every cell has its record, 1 when some cells of a suite failed.

    Raises:
        UserError: The user has to fix something first; no partial result is recorded.
    """
    _refuse_unfit_arguments(args)
    hardware.require_asked_gpus()
    place = ranks.place_of(args.launcher)
    if args.dry_run:
        return _tell_costs(args, place.of) if place.rank == 0 else 0
    with ranks.together(args.launcher, versions()):
        return _run(args)


def _refuse_for_processes(args: argparse.Namespace) -> None:
    """Refuse options that need a single process; launched processes share each cell of a suite."""
    if ranks.place_of(args.launcher).of > 1:
        for name in ("jobs", "ray", "retry"):
            if getattr(args, name):
                raise UserError(
                    f"--{name} needs a single process: processes of a launcher run all cells "
                    "together, "
                    "one after another."
                )


def _run(args: argparse.Namespace) -> int:
    """Run the request, in one process or in several together; one of them prints."""
    console = screen(quiet=not ranks.is_main())
    plan = ranks.on_main(lambda: _plan(args, ranks.world_size()))
    _tell_remarks(plan, console)
    tasks = _tasks(plan, args)
    here = ranks.world_size() > 1 or (not args.suite and _jobs(args, tasks) == 1)
    notes = ranks.on_main(lambda: _look_before(tasks, here, not args.ray))
    for note in notes if ranks.is_main() else []:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    if args.tensorboard:
        console.print(_where_curves_are(args.work_dir), highlight=False, soft_wrap=True)
    if plan.baseline and not args.until_decided:
        ranks.on_main(lambda: keep_asked(tasks, plan.baseline, plan.margin))
    if args.until_decided:
        failed = _run_until_decided(tasks, plan, args, console)
    elif here:
        _run_here(tasks, console)
        failed = False
    else:
        failed = _run_in_workers(tasks, args, console)
    if ranks.is_main():
        tables = _print_tables(plan, args.results, console)
        if args.backbone and catalogue.SAMPLE in plan.data:
            _print_ending(tables, args, console)
    return int(failed)


def _where_curves_are(work_dir: Path) -> str:
    folder = work_dir.absolute()
    return (
        f"TensorBoard files go to '{folder}/RUN/TIME/vis_data', one folder for each run. View them "
        f"with: tensorboard --logdir {shlex.quote(str(folder))}"
    )


def _tell_remarks(plan: Plan, console: Console) -> None:
    for remark in plan.remarks:
        console.print(remark, highlight=False, soft_wrap=True)


def _tell_costs(args: argparse.Namespace, processes: int) -> int:
    """Print the dry run."""
    console = screen()
    plan = _plan(args, processes)
    tasks = _tasks(plan, args)
    _tell_remarks(plan, console)
    _look_at_settings(tasks)
    require_usable_networks(plan.cells, args.results)
    _print_costs(plan, tasks, args, console)
    _require_writable(_unrecorded(tasks))
    return 0


def _refuse_unfit_arguments(args: argparse.Namespace) -> None:
    unfit, other = (_OF_A_BACKBONE, "--backbone") if args.suite else (_OF_A_SUITE, "--suite")
    for name, default in unfit.items():
        if getattr(args, name) != default:
            raise UserError(f"--{name.replace('_', '-')} only works with {other}.")
    _refuse_for_processes(args)
    _refuse_unfit_looks(args)
    if args.probe and not args.dry_run:
        raise UserError("--probe only works with --dry-run.")
    least = {"seeds": 1, "jobs": 1, "retry": 0, "evaluate_every": 0, "save_minutes": 0}
    require_at_least(args, least)
    for name in ("seed", "classifier_seed"):
        require_seed(getattr(args, name), f"--{name.replace('_', '-')}")
    if args.state_storage:
        from backbones.runtime import storage

        storage.require_known(args.state_storage)
    for package in ("tensorboard", "wandb", "ray"):
        if getattr(args, package) and importlib.util.find_spec(package) is None:
            raise UserError(
                f"--{package} needs the package '{package}', which is not installed: "
                f"pip install {package}."
            )


def _refuse_unfit_looks(args: argparse.Namespace) -> None:
    """Refuse options that do not go with planned looks, and a margin that is none."""
    if args.margin is not None and not 0 < args.margin <= 100:
        raise UserError("--margin takes a number of points above 0 and at most 100.")
    if args.looks and not args.until_decided:
        raise UserError("--looks only works with --until-decided.")
    if not args.until_decided:
        return
    if args.seeds or args.only or args.shard:
        raise UserError(
            "--until-decided runs whole rows with the seeds of --looks: leave out --seeds, --only "
            "and --shard. Several machines can share its runs: start the same command on each."
        )
    if ranks.place_of(args.launcher).of > 1:
        raise UserError("--until-decided needs a single process, without a launcher.")


def _plan(args: argparse.Namespace, processes: int) -> Plan:
    tasks = TASKS if args.task == "all" else (args.task,)
    if args.suite:
        choice = Choice(
            data_root=args.data_root,
            tasks=tasks,
            data=args.data,
            protocol=args.protocol,
            precision=args.precision,
            seeds=args.seeds,
            units=_looks(args)[-1] if args.until_decided else None,
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


def _tasks(plan: Plan, args: argparse.Namespace) -> list[Task]:
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
        )
        for cell in plan.cells
    ]


def _command(args: argparse.Namespace, cell: Cell) -> str:
    """The command that runs one cell again."""
    given = ["transfer", "run"]
    if args.suite:
        seeds = ["--seeds", str(args.seeds)] if args.seeds else []
        if args.until_decided:
            seeds = ["--seeds", str(_looks(args)[-1])]
        given += ["--suite", args.suite, *seeds, "--only", cell.id]
    else:
        given += ["--backbone", args.backbone, "--against", args.against]
        of_sample = args.weights == "auto" and cell.weights.startswith(OF_SAMPLE)
        given += ["--weights", TRAINED if of_sample else args.weights, "--seed", str(args.seed)]
        given += ["--classifier-seed", str(args.classifier_seed)]
    given += ["--task", cell.task, "--data", args.data, "--protocol", cell.protocol]
    return shlex.join([*given, "--precision", cell.precision])


def _look_before(tasks: list[Task], in_process: bool, data_is_here: bool) -> list[str]:
    """Check the cells before the first one starts, and return remarks for the user.

    A suite's driver only starts workers and imports nothing heavy, so another process checks.
    """
    todo = _unrecorded(tasks)
    _require_writable(todo)
    if todo and in_process:
        return _require_sound(todo, data_is_here)
    if todo:
        # If that process is killed, it has found nothing; each cell then reports its own faults.
        with suppress(BrokenProcessPool), child_processes.pool(1) as one:
            return one.submit(_require_sound, todo, data_is_here).result()
    return []


def _unrecorded(tasks: Iterable[Task]) -> list[Task]:
    return [task for task in tasks if not record_path(task).exists()]


def _require_writable(tasks: list[Task]) -> None:
    """Check that records, leases and work folders are writable, as another user's are not."""
    folders = [
        pair
        for task in tasks
        for pair in (
            (record_path(task).parent, "--results"),
            (leases_of(task), "--results"),
            (task.work_leases, "--work-dir"),
            (task.place, "--work-dir"),
        )
    ]
    work_dirs = {task.work_dir for task in tasks}
    require_writable(folders, [log for one in work_dirs for log in one.glob("worker-*.log")])


def _look_at_settings(tasks: list[Task]) -> None:
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


def _todo(tasks: list[Task]) -> list[Task]:
    """Tasks without a record; leftover checkpoints of the others are removed."""
    todo = []
    for task in tasks:
        if record_path(task).exists():
            clear_checkpoints(task)
        else:
            todo.append(task)
    return todo


def _run_here(tasks: list[Task], console: Console) -> None:
    """Run cells one after another, in this process and those launched with it, until one fails.

    Raises:
        UserError: A cell could not run, or another driver has taken its lease.
        KeyboardInterrupt: The user stopped the run; its checkpoint is saved.
    """
    todo = ranks.on_main(lambda: _todo(tasks))
    outlook = _outlook(todo, 1, console) if ranks.is_main() else None
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


def _outlook(todo: list[Task], jobs: int, console: Console) -> Forecast | None:
    """The forecast of runs on the sample, which is printed too; None for other data."""
    if not todo or any((task.cell.data, task.cell.protocol) != _SMALL for task in todo):
        return None
    from transfer.finetune.pace import pace

    outlook = forecast([task.cell for task in todo], pace(), jobs)
    if outlook:
        minutes = max(1, round(outlook.left() / 60))
        together = f", {jobs} at a time" if jobs > 1 else ""
        runs, time = count(len(todo), "run"), count(minutes, "minute")
        console.print(f"{runs}{together}: about {time} here.")
    return outlook


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


def _run_in_workers(tasks: list[Task], args: argparse.Namespace, console: Console) -> bool:
    """Run every cell in workers, and return whether some failed.

    Raises:
        UserError: A run of ``--backbone`` failed; the others have their records.
        KeyboardInterrupt: The user stopped the runs; their checkpoints are saved.
    """
    durations = _durations(args.results, {task.cell.data for task in tasks})
    executor = _executor(args, tasks, durations)
    jobs = min(executor.jobs, len(tasks))
    todo = [] if args.ray else _unrecorded(tasks)
    if any(task.data == catalogue.SAMPLE for task in todo):
        with StepBar("the sample") as bar:  # here, or each worker would draw it
            load_data(catalogue.SAMPLE, Path(), partial(bar.step, "draw"))
    outlook = _outlook(todo, jobs, console)
    forecasted = (outlook, [task.name for task in todo]) if outlook else None
    with (
        stopping.on_signals(),
        SuiteView(len(tasks), console, durations, jobs, forecasted) as view,
    ):
        schedule = Schedule(tasks, jobs=jobs, retry=args.retry, executor=executor, watcher=view)
        tally = schedule.run()
    if tally.failed and not args.suite:
        raise UserError("\n".join(dict.fromkeys(reason for _, reason in tally.failed)))
    summary = f"{len(tally.done)} of {len(tasks)} runs have a record"
    if tally.failed:
        summary += f"; {len(tally.failed)} failed; the next call retries them"
    if args.suite:
        console.print(f"suite {args.suite}: {summary}", highlight=False, soft_wrap=True)
    return bool(tally.failed)


def _run_until_decided(
    tasks: list[Task], plan: Plan, args: argparse.Namespace, console: Console
) -> bool:
    """Run the seeds of a suite look after look, and return whether some runs failed."""
    suite = UntilDecided(tasks, plan.baseline, _looks(args), plan.margin)
    return suite.run(lambda chosen: _run_in_workers(chosen, args, console))


def _looks(args: argparse.Namespace) -> tuple[int, ...]:
    return parse_looks(args.looks) if args.looks else DEFAULT_LOOKS


def _executor(
    args: argparse.Namespace, tasks: list[Task], durations: Durations
) -> ProcessExecutor | ClusterExecutor:
    """The executor of a suite's cells."""
    if not args.ray:
        return ProcessExecutor(_jobs(args, tasks), args.work_dir)
    from transfer.scheduling.cluster import ClusterExecutor

    estimates = [durations.of(task.cell) for task in tasks]
    peaks = [e.host_bytes for e in estimates if e and e.host_bytes]
    executor = ClusterExecutor(args.ray, args.jobs, max(peaks, default=None))
    executor.require_fit(task for task in tasks if not record_path(task).exists())
    return executor


def _print_costs(plan: Plan, tasks: list[Task], args: argparse.Namespace, console: Console) -> None:
    """Print the planned runs and their cost, after timing those without a time if asked."""
    durations = _durations(args.results, plan.data)
    if args.probe:
        for task in _unrecorded(tasks):
            if not durations.knows(task.cell):
                from transfer.finetune.probe import probe

                console.print(f"timing {task.name}", highlight=False, soft_wrap=True)
                probe(task)
                durations = _durations(args.results, plan.data)
    print_costs(
        plan.cells,
        results=args.results,
        durations=durations,
        jobs=_jobs(args, tasks),
        console=console,
    )
    for line in advice(plan.cells, _read(args.results, plan.data)[0], plan.baseline):
        console.print(line, highlight=False, soft_wrap=True)
    if args.until_decided:
        for line in cost_of_looks(plan.cells, plan.baseline, _looks(args)):
            console.print(line, highlight=False, soft_wrap=True)


def _durations(results: Path, data: Iterable[str]) -> Durations:
    durations = Durations()
    durations.add(_read(results, data)[0])
    durations.add_probes(probes.read_all())
    return durations


def _jobs(args: argparse.Namespace, tasks: Sequence[Task]) -> int:
    """Number of cells that run in parallel."""
    jobs = args.jobs or max(1, hardware.cuda_devices() or _jobs_of_the_sample(tasks))
    return min(jobs, len(tasks))


def _jobs_of_the_sample(tasks: Sequence[Task]) -> int:
    """Runs of the sample that this machine can hold without a GPU; 1 if others are among them."""
    if any((task.cell.data, task.cell.protocol) != _SMALL for task in tasks):
        return 1
    return min(hardware.cpu_cores(), hardware.available_memory() // _SMALL_BYTES)


def _print_tables(plan: Plan, results: Path, console: Console) -> list[GainTable]:
    """Print the tables of the plan's records, with every recorded seed of their rows."""
    from transfer.records.comparable import Setting
    from transfer.report.gains import gain_tables, keep_look
    from transfer.report.terminal import print_gains

    paths = [records.path_of(results, cell) for cell in plan.cells]
    settings = {Setting.of(records.read(path)) for path in paths if path.exists()}
    rows = {cell.backbone for cell in plan.cells}
    found, unreadable = _read(results, plan.data)
    for sentence in unreadable:
        console.print(sentence, highlight=False, soft_wrap=True)
    of_tables = [r for r in found if Setting.of(r) in settings and r.cell["backbone"] in rows]
    tables = gain_tables(of_tables, plan.baseline, rows)
    for table in tables:
        print_gains(table, console)
        keep_look(table)
    return list(tables)


def _print_ending(tables: list[GainTable], args: argparse.Namespace, console: Console) -> None:
    from transfer.report.ending import ending

    measured = [args.results, Path(__file__).resolve().parents[1] / "results"]
    real = next((one for one in measured if records.folder(one, "").is_dir()), args.results)
    for line in ending(tables, args.backbone, real):
        console.print(line, highlight=False, soft_wrap=True)


def _read(results: Path, data: Iterable[str]) -> tuple[list[records.Record], list[str]]:
    """The records of some data sets, and a sentence for each that could not be read."""
    found: list[records.Record] = []
    unreadable: list[str] = []
    for name in {records.folder(results, name): name for name in data}.values():
        readable, bad = records.read_all(results, name)
        found += readable
        unreadable += bad
    return found, unreadable


def main(arguments: list[str] | None = None) -> int:
    """Run the driver as a script."""
    parser = argparse.ArgumentParser(prog="python transfer/run.py", description=SUMMARY)
    add_arguments(parser)
    return guarded(run, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
