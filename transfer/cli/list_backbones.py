"""``transfer backbones``: the zoo on the screen."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.table import Table

from backbones.zoo import zoo
from backbones.zoo.entry import Variant
from transfer.records.wording import figure
from transfer.report.terminal import screen

_WIDE = 120
"""Columns of a terminal from which sources have room beside the rest."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="show one row whole")


def run(args: argparse.Namespace) -> int:
    """List all rows, or show one.

    Raises:
        UserError: No such row.
    """
    console = screen()
    if args.name:
        _show(zoo.find(args.name), console)
    else:
        _list(console)
    return 0


def _list(console: Console) -> None:
    shown = Table(title="Rows of the zoo", title_justify="left")
    shown.add_column("row", no_wrap=True)
    for column in ("network", "tricks", "paper's top-1", "weights"):
        shown.add_column(column, overflow="fold")
    is_wide = console.width >= _WIDE
    if is_wide:
        shown.add_column("source", overflow="fold")
    for row in zoo.CATALOGUE.values():
        told = [
            row.name,
            row.architecture,
            _tricks(row),
            "" if row.paper.top1 is None else f"{row.paper.top1:.2f}",
            _state(row),
        ]
        shown.add_row(*told, *([row.weights.source if row.weights else ""] if is_wide else []))
    console.print(shown)
    console.print(
        "Weights: exact, the authors' own or as published; proxy, a near relative; none: train it "
        "with 'python backbones/train.py --recipe ROW --data IMAGENET'.\nAny network of timm is "
        "'timm/<name>', the same from random weights '<network>_scratch', your own a .toml;\n"
        "'<row>_shuffled' is a row's weights with each layer's values in another order.",
        highlight=False,
    )


def _show(row: Variant, console: Console) -> None:
    from backbones.zoo.cost import IMAGE_SIZE, classifier_cost

    cost = classifier_cost(row.architecture)
    paper = row.paper
    told = {
        "network": f"{row.architecture}, {cost.parameters / 1e6:.2f} M parameters, "
        f"{cost.multiply_adds / 1e9:.2f} G multiply-adds at {IMAGE_SIZE} pixels",
        "tricks": _tricks(row),
        "recipe": _recipe(row),
        "weights": _weights(row),
        "paper": (
            f"top-1 {figure(paper.top1)}, VOC mAP {figure(paper.voc_map)}, ADE20K pixAcc "
            f"{figure(paper.pixacc)}, mIoU {figure(paper.miou)} (Table {paper.table})"
            if paper.table
            else "not in the paper"
        ),
        "control": row.control or "none",
        "note": row.note,
    }
    console.print(row.name, style="bold")
    for what, text in told.items():
        if text:
            console.print(f"  {what:8} {text}", highlight=False, soft_wrap=True)


def _tricks(row: Variant) -> str:
    if row.recipe is None:
        return "random weights" if row.scratch else "as published"
    return ", ".join(row.recipe.tricks()) or "none"


def _state(row: Variant) -> str:
    return row.weights.near if row.weights else "none: train it"


def _recipe(row: Variant) -> str:
    recipe = row.recipe
    if recipe is None:
        return ""
    return (
        f"{recipe.epochs} epochs, batch {recipe.batch_size}, learning rate "
        f"{recipe.base_lr * recipe.batch_size / 256:g}, {recipe.schedule} schedule, "
        f"{recipe.warmup_epochs:g} epochs of warmup, label smoothing {recipe.label_smoothing:g}, "
        f"mixup {recipe.mixup:g}" + (f", teacher {recipe.teacher}" if recipe.teacher else "")
    )


def _weights(row: Variant) -> str:
    if row.weights is None:
        return "none are public: train it" if not row.scratch else "random"
    top1 = f", top-1 {row.weights.top1}" if row.weights.top1 else ""
    note = f" ({row.weights.note})" if row.weights.note else ""
    return f"{row.weights.source}, {row.weights.near}{top1}{note}"
