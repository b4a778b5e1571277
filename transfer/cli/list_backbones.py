"""``transfer backbones``: lists the zoo."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from fnmatch import fnmatch

from rich.console import Console

from backbones.common.screen import screen
from backbones.zoo import zoo
from backbones.zoo.entry import Variant
from transfer.cli.list_networks import list_networks
from transfer.records.wording import figure

_LAST_TRICKS = {
    "large batch": "large batch",
    "warmup": "+ warmup",
    "zero gamma": "+ zero gamma",
    "no bias decay": "+ no bias decay",
    "half precision": "efficient",
    "cosine": "+ cosine",
    "label smoothing": "+ smooth",
    "distillation": "+ distill",
    "mixup": "+ mixup",
}
"""The paper's short names of cumulative steps (Tables 4, 6 and 8), by the last trick."""

_NOTES = """
top-1: in percent, from the paper; for other recipes, from the weights' source.
Recipes are cumulative, as in the paper: '+ smooth' includes efficient training
and cosine decay. Weights: exact, as published; proxy, a close relative; train:
'python backbones/train.py --recipe ROW --data IMAGENET'.
More rows: 'timm/<name>', '<network>_scratch' (random weights),
'<row>_shuffled', or your own .toml file. 'transfer backbones ROW' shows the
details of a row."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="a row to show in detail, or a part or pattern of names, such as 'resnet50*mixup'",
    )
    parser.add_argument(
        "--networks",
        action="store_true",
        help="list the tasks that timm's networks can be used for",
    )


def run(args: argparse.Namespace) -> int:
    """List rows, or show one.

    Raises:
        UserError: No row has this name or contains it.
    """
    console = screen()
    if args.networks:
        list_networks(args.name or "", console)
        return 0
    listed = _matching(args.name) if args.name else list(zoo.CATALOGUE.values())
    if listed and args.name not in zoo.CATALOGUE:
        _list(listed, console)
    else:
        _show(zoo.find(args.name), console)
    return 0


def _matching(pattern: str) -> list[Variant]:
    """Rows whose name or network matches the pattern."""
    wanted = f"*{pattern}*"
    rows = zoo.CATALOGUE.values()
    return [r for r in rows if any(fnmatch(n, wanted) for n in (r.name, r.architecture))]


def _list(rows: list[Variant], console: Console) -> None:
    """One line for each row, at most 79 columns wide: the paper's recipes, then others."""
    ours = [row for row in rows if row.recipe]
    others = [row for row in rows if not row.recipe]
    if ours:
        header = ("row", "network", "recipe", "top-1", "weights")
        lines = [
            (row.name, row.architecture, _step(row), figure(row.paper.top1), _availability(row))
            for row in ours
        ]
        _columns([header, *lines], console)
    if ours and others:
        console.print()
    if others:
        header_of_others = ("row, other recipes", "network", "top-1", "weights")
        published = [(row, row.weights.top1 if row.weights else None) for row in others]
        lines_of_others = [
            (row.name, row.architecture, figure(top1), _availability(row))
            for row, top1 in published
        ]
        _columns([header_of_others, *lines_of_others], console)
    console.print(_NOTES, highlight=False)


def _columns(lines: Sequence[Sequence[str]], console: Console) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        console.print(
            "  ".join(cells).rstrip(),
            style="bold" if line is lines[0] else "",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _step(row: Variant) -> str:
    """The last step of the row's recipe, by the paper's short name."""
    assert row.recipe
    tricks = row.recipe.tricks()
    if not tricks:
        return "baseline"
    if {"distillation", "mixup"} <= set(tricks):
        return "mixup + distill"
    return _LAST_TRICKS.get(tricks[-1], f"+ {tricks[-1]}")


def _show(row: Variant, console: Console) -> None:
    from backbones.zoo.cost import IMAGE_SIZE, classifier_cost

    cost = classifier_cost(row.architecture)
    paper = row.paper
    details = {
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
    for what, text in details.items():
        if text:
            console.print(f"  {what:8} {text}", highlight=False, soft_wrap=True)


def _tricks(row: Variant) -> str:
    if row.recipe is None:
        return "random weights" if row.scratch else "as published"
    return ", ".join(row.recipe.tricks()) or "none"


def _availability(row: Variant) -> str:
    return row.weights.near if row.weights else "train"


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
        return "none are public; train the classifier" if not row.scratch else "random"
    top1 = f", top-1 {row.weights.top1}" if row.weights.top1 else ""
    note = f" ({row.weights.note})" if row.weights.note else ""
    return f"{row.weights.source}, {row.weights.near}{top1}{note}"
