"""The options of ``transfer run``, and which of them go together."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from backbones.common.arguments import require_at_least
from backbones.common.errors import UserError
from backbones.common.hardware import PRECISIONS
from backbones.common.seeds import require_seed
from backbones.runtime import ranks
from transfer.datasets.catalogue import default_data_root
from transfer.driver.fitting import AUTO
from transfer.protocols.protocols import TASKS
from transfer.scheduling.until_decided import DEFAULT_LOOKS, parse_looks

_OF_A_BACKBONE = {"against": "auto", "weights": "auto", "seed": 0, "classifier_seed": 0}
_OF_A_SUITE = {
    **{"seeds": None, "only": "", "shard": None, "ray": None, "retry": 0},
    **{"until_decided": False, "looks": None, "margin": None},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--backbone", help="row of the zoo, timm/<name>, or your own .toml file")
    what.add_argument("--suite", help="quick, paper, animals, imagenet, or your own .toml file")
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
        help="quick, openmmlab, paper, modern, modern-quick or frozen; for detection also "
        "paper-long, quick-coco and openmmlab-coco; or a config of MMDetection or "
        "MMSegmentation, as FILE.py or mmdet::… (default: chosen by data and machine)",
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
        type=_jobs,
        metavar="N",
        help="runs side by side; auto: on each GPU as many as its memory, its load and the cores "
        "allow (default: one for each GPU; without a GPU one, but for the sample as many as cores "
        "and memory allow)",
    )
    add(
        "--dry-run",
        action="store_true",
        help="check names and settings, print the planned runs and their cost, then exit; files of "
        "weights and images are read only by the run itself, before its first training",
    )
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


def _jobs(text: str) -> int | str:
    """The value of ``--jobs``."""
    if text == AUTO:
        return AUTO
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a number nor '{AUTO}'") from None


def refuse_unfit_arguments(args: argparse.Namespace) -> None:
    """Check that options go together and are in range, before anything is loaded.

    Raises:
        UserError: They do not, or a package that an option needs is not installed.
    """
    unfit, other = (_OF_A_BACKBONE, "--backbone") if args.suite else (_OF_A_SUITE, "--suite")
    for name, default in unfit.items():
        if getattr(args, name) != default:
            raise UserError(f"--{name.replace('_', '-')} only works with {other}.")
    _refuse_for_processes(args)
    _refuse_unfit_looks(args)
    if args.probe and not args.dry_run:
        raise UserError("--probe only works with --dry-run.")
    if args.jobs == AUTO and args.ray:
        raise UserError(
            f"--jobs {AUTO} counts the runs that fit on this machine; with --ray, give a number or "
            "leave it out for one run on each GPU."
        )
    least = {"seeds": 1, "retry": 0, "evaluate_every": 0, "save_minutes": 0}
    require_at_least(args, least if args.jobs == AUTO else {**least, "jobs": 1})
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


def _refuse_for_processes(args: argparse.Namespace) -> None:
    """Refuse options that need a single process; launched processes share each cell of a suite."""
    if ranks.place_of(args.launcher).of > 1:
        for name in ("jobs", "ray", "retry"):
            if getattr(args, name):
                raise UserError(
                    f"--{name} needs a single process: processes of a launcher run all cells "
                    "together, one after another."
                )


def _refuse_unfit_looks(args: argparse.Namespace) -> None:
    """Refuse options that do not go with planned looks, and a margin that is none."""
    if args.margin is not None and not 0 < args.margin <= 100:
        raise UserError("--margin takes a number of points above 0 and at most 100.")
    if args.looks is not None and not args.until_decided:
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


def looks_of(args: argparse.Namespace) -> tuple[int, ...]:
    """The planned looks of ``--looks``, in units of each row."""
    return DEFAULT_LOOKS if args.looks is None else parse_looks(args.looks)
