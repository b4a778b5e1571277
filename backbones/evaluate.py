"""Measure a row's top-1: ``python backbones/evaluate.py --backbone ROW --data IMAGEFOLDER``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # started as a script: this folder would shadow libraries' names
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from backbones.common.errors import UserError
from backbones.runtime.command import guarded
from backbones.zoo import zoo


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python backbones/evaluate.py",
        description="Measure the top-1 of a classifier with its head on the validation images of "
        "an ImageFolder. If the folder has fewer classes than the head, the other classes are left "
        "out.",
    )
    add = parser.add_argument
    add("--backbone", required=True, help="row of the zoo, timm/<name>, or your own .toml file")
    add("--data", required=True, type=Path, help="ImageFolder: train/<class>, val/<class>")
    add("--weights", help="a file, timm:<model>.<tag> or a URL (default: the row's own)")
    add("--image-size", type=int, default=224, help="side of the crops in pixels (default: 224)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 0 if done, 2 if the user must correct something."""
    return guarded(run, build_parser().parse_args(arguments))


def run(args: argparse.Namespace) -> int:
    """Measure and print; see :func:`main`.

    Raises:
        UserError: The user must correct something first.
    """
    from backbones.runtime.console import StepBar
    from backbones.training import top1

    row = zoo.find(args.backbone)
    source = args.weights or (row.weights.source if row.weights else "")
    if not source:
        raise UserError(f"{row.name} has no public weights; pass its file with --weights.")
    if args.image_size < 1:
        raise UserError(f"--image-size is {args.image_size}; it must be 1 or more.")
    with StepBar(row.name) as bar:
        found = top1.measure(
            row,
            source,
            args.data,
            size=args.image_size,
            progress=lambda done, total: bar.step("evaluate", done, total),
        )
    low, high = found.interval
    of_head = f" of the {found.of_head:,} in its head" if found.classes < found.of_head else ""
    print(
        f"{row.name}: top-1 {found.percent:.2f} % (95 % interval {low:.2f} … {high:.2f}) on the "
        f"{found.images:,} validation images of '{args.data.resolve().name}', "
        f"{found.classes} classes{of_head}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
