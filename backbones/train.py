"""Train a row of the zoo: ``python backbones/train.py --recipe resnet50d_cosine --data PATH``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # started as a script: this folder would shadow libraries' names
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from backbones.errors import UserError
from backbones.resources import cache_dir


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python backbones/train.py",
        description="Train a classifier of the zoo with its recipe. A training that was "
        "interrupted goes on where it was.",
    )
    add = parser.add_argument
    add("--recipe", required=True, help="row of the zoo, e.g. resnet50d_cosine")
    add("--data", required=True, type=Path, help="ImageFolder: train/<class>, val/<class>")
    add("--epochs", type=int, help="passes over the data (default: the recipe's)")
    add("--batch-size", type=int, help="images a step; the learning rate follows it")
    add("--image-size", type=int, help="side of the crops in pixels (default: 224)")
    add("--base-lr", type=float, help="learning rate at a batch of 256 (default: 0.1)")
    add("--min-area", type=float, default=0.08, help="smallest share of an image a crop covers")
    add("--seed", type=int, default=0)
    add("--teacher", default="", help="weights of the teacher, for the distilled rows")
    add("--precision", choices=("float32", "bfloat16"), default="", help="default: the recipe's")
    add("--authors-code", action="store_true", help="where paper and code differ, do as the code")
    add("--workers", type=int, default=0, help="processes that read images")
    add("--cache", action="store_true", help="hold the images decoded in memory")
    add("--resume", action=argparse.BooleanOptionalAction, default=True)
    add("--work-dir", type=Path, help="logs and the state to resume from")
    add("--output", type=Path, help="the .safetensors to write (default: in the cache)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Train; 0 when done, 2 when something has to be mended first."""
    args = build_parser().parse_args(arguments)
    from backbones import training
    from backbones.runtime.console import StepBar

    try:
        planned = training.plan(
            args.recipe,
            args.data,
            epochs=args.epochs,
            batch_size=args.batch_size,
            image_size=args.image_size,
            base_lr=args.base_lr,
            min_area=args.min_area,
            seed=args.seed,
            precision=args.precision,
            teacher=args.teacher,
            authors_code=args.authors_code,
        )
        name = f"{args.recipe}_{args.data.resolve().name}_s{args.seed}_{planned.identity()}"
        output = args.output or cache_dir() / "classifiers" / f"{name}.safetensors"
        work_dir = args.work_dir or Path("work_dirs") / "classifiers" / name
        with StepBar(f"{args.recipe}, seed {args.seed}") as bar:
            training.train(
                planned,
                output,
                work_dir,
                workers=args.workers,
                cache=args.cache,
                listener=bar.step,
                resume=args.resume,
            )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from backbones import weights

    told = weights.read_metadata(output)
    print(
        f"{args.recipe}: top-1 {told['metrics']['top1']:.2f} %, top-5 "
        f"{told['metrics']['top5']:.2f} %, {told['images_per_second']:.0f} images/s\n"
        f"written to {output}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
