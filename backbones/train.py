"""Train a row of the zoo: ``python backbones/train.py --recipe resnet50d_cosine --data PATH``."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

if __name__ == "__main__":  # started as a script: this folder would shadow libraries' names
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from backbones.common import hardware
from backbones.common.errors import UserError
from backbones.common.near_names import suggestion
from backbones.common.resources import cache_dir
from backbones.common.seeds import require_seed
from backbones.common.versions import versions
from backbones.runtime import ranks, stopping
from backbones.runtime.command import guarded
from backbones.runtime.ranks import LAUNCHERS
from backbones.training import suite
from backbones.weights.safetensors_header import read_own_metadata
from backbones.zoo import zoo
from backbones.zoo.sources import is_public


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python backbones/train.py",
        description="Train classifiers of the zoo with their recipes. An interrupted "
        "training resumes from its last checkpoint.",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--recipe", help="row of the zoo, e.g. resnet50d_cosine")
    what.add_argument("--suite", help="table4, table5, table6, or a .toml of your own")
    add = parser.add_argument
    add("--data", required=True, type=Path, help="ImageFolder: train/<class>, val/<class>")
    add("--epochs", type=int, help="passes over the data (default: the recipe's)")
    add("--batch-size", type=int, help="images per step; the learning rate follows it")
    add("--image-size", type=int, help="side of the crops in pixels (default: 224)")
    add("--base-lr", type=float, help="learning rate for a batch size of 256 (default: 0.1)")
    add(
        "--min-area", type=float, default=0.08, help="smallest share of an image that a crop covers"
    )
    add("--seed", type=int, default=0, help="seed of a single training; a suite lists its own")
    add("--teacher", action="append", default=[], metavar="[ROW=]WEIGHTS", help="weights of the "
        "teacher of distilled rows; name its row if a suite has several teachers")  # fmt: skip
    add("--precision", choices=("float32", "bfloat16"), default="", help="default: the recipe's")
    add(
        "--authors-code",
        action="store_true",
        help="follow the authors' code where it differs from the paper",
    )
    add(
        "--workers",
        type=int,
        default=hardware.loader_workers(),
        help="processes that read images, per GPU (default on this machine: %(default)s)",
    )
    add("--cache", action="store_true", help="keep decoded images in memory")
    add("--resume", action=argparse.BooleanOptionalAction, default=True)
    add("--work-dir", type=Path, default=Path("work_dirs/classifiers"), help="logs and checkpoints")
    add("--output", type=Path, help="folder for the .safetensors (default: in the cache)")
    add(
        "--launcher",
        choices=LAUNCHERS,
        default="auto",
        help="distributed launcher; torchrun is detected automatically",
    )
    add("--results", type=Path, default=Path("results"), help="folder of the records")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Train; 0 if all is done, 1 if a part of a suite failed, 2 if all of it failed."""
    return guarded(run, build_parser().parse_args(arguments))


def run(args: argparse.Namespace) -> int:
    """Train a row or a suite; see :func:`main`.

    Raises:
        UserError: The user must correct something first.
        Interrupted: The training was stopped; its checkpoint is saved.
    """
    hardware.require_asked_gpus()
    with ranks.together(args.launcher, versions()), stopping.on_signals():
        require_seed(args.seed, "--seed")
        if args.workers < 0:
            raise UserError(f"--workers is {args.workers}; it must be 0 or more.")
        if args.recipe:
            train_one(args, args.recipe, args.seed)
            return 0
        return train_suite(args)


def train_suite(args: argparse.Namespace) -> int:
    """Run every training of a suite that has no record; a failed one does not stop the rest."""
    chosen = suite.load(args.suite)
    teachers = sorted({teacher for row in chosen.rows if (teacher := _teacher_row(row))})
    if len(teachers) > 1 and "" in _teachers(args.teacher):
        raise UserError(
            f"The rows of suite {chosen.name} have the teachers {' and '.join(teachers)}; name the "
            f"row of each file: --teacher {teachers[0]}=WEIGHTS, and so on."
        )
    failed = 0
    for row in chosen.rows:
        for seed in chosen.seeds:
            try:
                train_one(args, row, seed)
            except UserError as error:
                if ranks.world_size() > 1:
                    raise  # the others wait for this process, so none can continue
                failed += 1
                print(f"{row}, seed {seed}: {error}", file=sys.stderr)
    total = len(chosen.rows) * len(chosen.seeds)
    print(f"suite {chosen.name}: {total - failed} of {total} trained and recorded")
    return 0 if not failed else 1 if failed < total else 2


def train_one(args: argparse.Namespace, row: str, seed: int) -> Path:
    """Train a row, unless it has been trained, and write its record.

    Returns:
        The classifier's file.

    Raises:
        UserError: The user must correct something first.
    """
    from backbones.runtime.console import StepBar
    from backbones.training import training

    planned = training.plan(
        row,
        args.data,
        epochs=args.epochs,
        batch_size=args.batch_size,
        image_size=args.image_size,
        base_lr=args.base_lr,
        min_area=args.min_area,
        seed=seed,
        precision=args.precision,
        teacher=_teacher(row, args),
        authors_code=args.authors_code,
    )
    stem = f"{row}_{args.data.resolve().name}_s{seed}_{planned.identity}"
    output = (args.output or cache_dir() / "classifiers") / f"{stem}.safetensors"
    if ranks.on_main(lambda: not output.is_file() or not args.resume):
        with StepBar(f"{row}, seed {seed}") if ranks.is_main() else nullcontext() as bar:
            training.train(
                planned,
                output,
                args.work_dir / stem,
                workers=args.workers,
                cache=args.cache,
                listener=bar.step if bar else None,
                resume=args.resume,
            )
    if ranks.is_main():
        _report(args, output, f"{row}, seed {seed}", stem)
    return output


def _report(args: argparse.Namespace, output: Path, title: str, stem: str) -> None:
    """Write the record of a classifier and print its metrics."""
    metadata = read_own_metadata(output)
    suite.write_record(suite.record_path(args.results, stem), metadata)
    print(
        f"{title}: top-1 {metadata['metrics']['top1']:.2f} %, top-5 "
        f"{metadata['metrics']['top5']:.2f} %, {metadata['images_per_second']:.0f} images/s\n"
        f"  {output}"
    )


def _teacher(row: str, args: argparse.Namespace) -> str:
    """The weights of a row's teacher; empty if it has no teacher or none was given."""
    given = _teachers(args.teacher)
    wanted = _teacher_row(row)
    return given.get(wanted, given.get("", "")) if wanted else ""


def _teacher_row(row: str) -> str:
    """The row of a row's teacher; empty for none."""
    recipe = zoo.find(row).recipe
    return recipe.teacher if recipe else ""


def _teachers(given: list[str]) -> dict[str, str]:
    """Weights by the row that they belong to; "" stands for any row."""
    found = {}
    for text in given:
        row, _, weights = text.partition("=")
        named = row in zoo.CATALOGUE and bool(weights)
        if weights and not named and not is_public(text) and not Path(text).exists():
            raise UserError(
                f"--teacher {text}: there is no row '{row}'; {suggestion(row, zoo.CATALOGUE)}"
            )
        found[row if named else ""] = weights if named else text
    return found


if __name__ == "__main__":
    sys.exit(main())
