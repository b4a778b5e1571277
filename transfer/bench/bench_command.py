"""``transfer bench``: this project's speed against stock training, measured in pairs."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.table import Table

from backbones.common import hardware
from backbones.common.arguments import require_at_least
from backbones.common.errors import UserError
from backbones.common.escape import terminal
from backbones.common.hardware import PRECISIONS
from backbones.common.hashing import sha256
from backbones.common.near_names import suggestion
from backbones.common.screen import screen
from backbones.common.versions import versions
from transfer.bench import equivalence, precisions, suite_pace
from transfer.bench.bench_record import circumstances, write
from transfer.bench.pairs import (
    EACH_PART,
    STOCK_AMP,
    Arithmetic,
    Pairs,
    Run,
    Work,
    alternate,
    count,
)
from transfer.bench.subset import link_subset
from transfer.datasets.catalogue import default_data_root
from transfer.plan.request import data_name
from transfer.report import speed_parts, speed_tables, suite_speed, verdict_cost
from transfer.report.speed_tables import LEAVING_OUT

AGAINST = {
    "classification": ("timm", "network alone"),
    "detection": ("stock", STOCK_AMP, "torchvision"),
    "segmentation": ("stock", STOCK_AMP),
}
_OF_THE_OTHER_TASK = {"detection": "mmseg", "segmentation": "mmdet"}

_OF_THEIR_OWN = ("timm", "network alone", "torchvision")
"""Sides with their own training loop, whose arithmetic is not counted."""

_ON_THE_CPU = "torchvision"
"""The side that uses no GPU."""

_SIZES = {
    "classification": {"images": 5120, "image_size": 64, "batch_size": 128},
    "detection": {"images": 24, "image_size": 320, "batch_size": 2},
    "segmentation": {"images": 16, "image_size": 320, "batch_size": 2},
}
"""Default sizes, which take minutes on two cores."""

_SIZES_ON_A_GPU = {
    **_SIZES,
    "detection": {"images": 400, "image_size": 600, "batch_size": 2},
    "segmentation": {"images": 640, "image_size": 512, "batch_size": 16},
}
"""As in protocol ``openmmlab``, and long enough that first steps do not matter."""

_NOT_OF_RESULTS = ("image_size", "batch_size", "workers", "seed", "paired")
_EQUIVALENCE = (
    "measure no speed: train the protocol's full length on both sides, with one seed per pair, and "
    "print the 90 %% interval of the metric's difference (fine-tunings; all images unless --images)"
)
_RECORDED = (
    "with --equivalence: train nothing; compare the runs in these results folders that differ "
    "only in precision"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add("--task", choices=tuple(AGAINST), default="classification")
    add(
        "--against",
        default="auto",
        help="; ".join(f"{task}: {', '.join(AGAINST[task])}" for task in AGAINST)
        + "; of fine-tunings also 'without PART', a part of the speed layer (docs/speed.md), or "
        f"'{EACH_PART}'; several, separated by commas, take turns",
    )
    add("--backbone", default="resnet18_baseline", help="row of the zoo")
    add("--data", default="sample", help="ImageFolder, or a data set (default: the sample)")
    add(
        "--data-root",
        type=Path,
        default=default_data_root(),
        help="folder that holds the data sets",
    )
    add("--images", type=int, help=f"training images per run ({_default('images')})")
    add("--image-size", type=int, help=f"image size in pixels ({_default('image_size')})")
    add("--batch-size", type=int, help=f"images per step ({_default('batch_size')})")
    add("--precision", choices=("auto", *PRECISIONS), default="auto")
    add(
        "--workers",
        type=int,
        help="processes that read images, on both sides (default: none; on a GPU its share of the "
        "cores, at most eight)",
    )
    add("--pairs", type=int, default=5)
    add("--results", type=Path, default=Path("results"), help="results folder")
    add("--suite", help="measure the runs an hour of this suite, one at a time and side by side")
    add("--jobs", default="auto", help="with --suite: runs side by side, as in transfer run")
    add("--seeds", type=int, help="with --suite: seeds of the runs side by side")
    add("--minutes", type=float, help="with --suite: end each way then; finished runs count")
    add("--equivalence", action="store_true", help=_EQUIVALENCE)
    add(
        "--protocol", help="protocol of fine-tunings (default: openmmlab; with --equivalence quick)"
    )
    add("--weights", default="none", help="with --equivalence: file with the backbone's weights")
    add("--recorded", type=Path, nargs="+", metavar="RESULTS", help=_RECORDED)
    add(
        "--table",
        action="store_true",
        help="measure nothing: rewrite the tables in the README and in docs/speed.md beside it",
    )
    add("--readme", type=Path, default=Path("README.md"), help="with --table: the README file")


def _default(name: str) -> str:
    """The default of a size for each task, for the help text."""
    defaults = []
    for task, sizes in _SIZES.items():
        on_a_gpu = _SIZES_ON_A_GPU[task][name]
        more = "" if on_a_gpu == sizes[name] else f", on a GPU {on_a_gpu}"
        defaults.append(f"{task} {sizes[name]}{more}")
    return "default: " + "; ".join(defaults)


def run(args: argparse.Namespace) -> int:
    """Measure, print, and write a record that grows with each pair.

    Raises:
        UserError: There is nothing to measure against, or a side failed.
    """
    if args.table:
        left_out = speed_parts.write(args.results, args.readme)
        for sentence in [*left_out, *suite_speed.write(args.results, args.readme)]:
            print(f"Left out: {terminal(sentence)}", file=sys.stderr)
        verdict_cost.write(args.results, args.readme)
        return 0
    if args.suite:
        return suite_pace.run(args)
    if args.recorded and not args.equivalence:
        raise UserError("--recorded only works with --equivalence.")
    least = {"images": 1, "image_size": 1, "batch_size": 1, "workers": 0}
    require_at_least(args, {**least, "pairs": 2 if args.equivalence else 1})
    if args.equivalence:
        if args.task == "classification":
            raise UserError("--equivalence needs --task detection or --task segmentation.")
        if args.against not in ("auto", "stock"):
            raise UserError("--equivalence only compares with stock; leave out --against.")
        return _precisions(args) if args.recorded else _equivalence(args)
    against = AGAINST[args.task][0] if args.against == "auto" else args.against
    asked = [_sides(args.task, one.strip()) for one in against.split(",")]
    others = list(dict.fromkeys(side for sides in asked for side in sides))
    if STOCK_AMP in others and not hardware.cuda_devices():
        raise UserError(f"'{STOCK_AMP}' needs an NVIDIA GPU, where the toolboxes offer --amp.")
    if _ON_THE_CPU in others and hardware.cuda_devices():
        raise UserError(
            f"The side '{_ON_THE_CPU}' computes on the CPU, but this project would use the GPU: "
            "set CUDA_VISIBLE_DEVICES to -1 to compare both on the CPU, or compare a fine-tuning "
            f"with --against stock or --against '{STOCK_AMP}'."
        )
    with tempfile.TemporaryDirectory() as folder:
        return _measure(_work(args, Path(folder), "openmmlab"), others, args)


def _measure(ours: Work, sides: Sequence[str], args: argparse.Namespace) -> int:
    """Measure our side against others, which take turns, and record each pair at once."""
    console = screen()
    counted = None
    if any(map(_is_counted, sides)):
        console.print("counting the arithmetic", highlight=False)
        counted = count(ours)
    others = [dataclasses.replace(ours, side=side) for side in sides]
    paths = [_place(ours, side, args.results) for side in sides]
    measured: list[list[tuple[Run, Run]]] = [[] for _ in sides]
    contents: list[dict[str, Any]] = [{} for _ in sides]
    try:
        for number, pair in alternate(
            ours,
            others,
            args.pairs,
            lambda side, done: console.print(
                f"{side}: {done.total:.2f} s, {done.images / done.total:.1f} images/s",
                highlight=False,
            ),
        ):
            grown = [*measured[number], pair]
            contents[number] = _content(
                _of(grown),
                ours=ours,
                other=others[number],
                counted=counted if _is_counted(sides[number]) else None,
                asked=args.pairs,
            )
            write(contents[number], paths[number])
            measured[number] = grown
    except UserError as error:
        if not any(measured):
            raise
        raise UserError(f"{error} {_recorded(measured, args.pairs, paths)}") from error
    except KeyboardInterrupt:
        if not any(measured):
            raise
        console.print(f"\n{_recorded(measured, args.pairs, paths)}", highlight=False)
        return 130
    trained = measured[0][0][0].images
    if trained + ours.batch_size <= ours.images:
        console.print(f"{args.data} has only {trained} training images", highlight=False)
    for side, pairs in zip(sides, measured, strict=True):
        console.print(_table(_of(pairs), ours, side))
    console.print(", ".join(f"{name} {found}" for name, found in versions().items()))
    for content in contents:
        if content["arithmetic"]:
            console.print(speed_tables.ceiling_sentence(content), highlight=False)
    for path in paths:
        console.print(f"recorded in {path}", highlight=False)
    return 0


def _is_counted(side: str) -> bool:
    """Whether the share of the machine's ceiling is recorded beside a side."""
    return side not in _OF_THEIR_OWN and not side.startswith(LEAVING_OUT)


def _of(measured: list[tuple[Run, Run]]) -> Pairs:
    return Pairs(tuple(ours for ours, _ in measured), tuple(other for _, other in measured))


def _recorded(measured: list[list[tuple[Run, Run]]], asked: int, paths: Sequence[Path]) -> str:
    """The message on what an incomplete measurement has recorded."""
    return " ".join(
        f"{len(pairs)} of {asked} pairs are recorded in {path}."
        for pairs, path in zip(measured, paths, strict=True)
        if pairs
    )


def _equivalence(args: argparse.Namespace) -> int:
    """Run the seeds without a record and print the interval; the record grows with each run."""
    console = screen()
    work = dataclasses.replace(
        _work(args, Path(), "quick"), images=args.images or 0, weights=args.weights
    )
    described = {k: v for k, v in _described(work).items() if k not in _NOT_OF_RESULTS}
    described["weights_sha256"] = _hash(work.weights)
    name = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:8]
    path = args.results / "records" / "equivalence" / f"{work.task}_stock_{name}.json"
    here = circumstances()
    ledger = equivalence.Ledger(path, described, here["git"], here["versions"])
    if known := sum(len(of_side) for of_side in ledger.done.values()):
        console.print(f"{known} runs are already in {path}", highlight=False)
    for asked, run in equivalence.runs(work, args.pairs, ledger.done):
        line = f"seed {asked.seed}, {asked.side}: {run.metric} in {run.total:.0f} s"
        console.print(line, highlight=False)
        ledger.add(asked.side, asked.seed, run)
        _keep(ledger, args.pairs)
    found = equivalence.difference(*ledger.pairs(args.pairs))
    _keep(ledger, args.pairs)
    _print_interval(f"{work.task}, ours ({work.precision}) - stock", found, path)
    return 0


def _keep(ledger: equivalence.Ledger, seeds: int) -> None:
    """Write the finished runs, with the interval as soon as there is one."""
    summary = {"kind": "equivalence", "against": "stock", **circumstances()}
    ours, stock = ledger.pairs(seeds)
    if len(ours) > 1:
        found = equivalence.difference(ours, stock)
        summary["difference"] = {**dataclasses.asdict(found), "verdict": found.verdict}
    ledger.write(summary)


def _hash(weights: str) -> str:
    """Hash of a weight file; empty for none."""
    if weights == "none":
        return ""
    if not Path(weights).is_file():
        raise UserError(
            f"The file '{weights}' does not exist; pass a classifier's file with --weights."
        )
    return sha256(Path(weights))


def _precisions(args: argparse.Namespace) -> int:
    """Print the interval for runs recorded in both precisions, and write a record."""
    pairs = precisions.twins(args.recorded, args.data, args.task)
    found = equivalence.difference(
        [pair.bfloat16 for pair in pairs], [pair.float32 for pair in pairs]
    )
    content = {
        "kind": "equivalence",
        "against": "float32",
        "work": {"task": args.task, "data": args.data, "precision": "bfloat16"},
        "pairs": [dataclasses.asdict(pair) for pair in pairs],
        "difference": {**dataclasses.asdict(found), "verdict": found.verdict},
        **circumstances(),
    }
    path = args.results / "records" / "equivalence" / f"{args.task}_precisions.json"
    write(content, path)
    for pair in pairs:
        both = f"{pair.bfloat16:.2f} in bfloat16, {pair.float32:.2f} in float32"
        screen().print(f"{pair.name}: {both}", highlight=False)
    _print_interval(f"{args.task}, bfloat16 - float32", found, path)
    return 0


def _print_interval(what: str, found: equivalence.Difference, path: Path) -> None:
    console = screen()
    console.print(
        f"{what}: {found.mean:+.2f} points, 90 % interval {found.low:+.2f} to {found.high:+.2f}, "
        f"{len(found.values)} pairs: {found.verdict} within {equivalence.MARGIN} points",
        highlight=False,
    )
    console.print(f"recorded in {path}", highlight=False)


def _work(args: argparse.Namespace, folder: Path, protocol: str) -> Work:
    precision = hardware.fast_precision() if args.precision == "auto" else args.precision
    usual = _SIZES_ON_A_GPU if hardware.cuda_devices() else _SIZES
    sizes = {name: getattr(args, name) or size for name, size in usual[args.task].items()}
    data = args.data
    if args.task == "classification":
        data, sizes["images"] = link_subset(args.data, folder, sizes["images"], sizes["batch_size"])
    return Work(
        task=args.task,
        side="ours",
        backbone=args.backbone,
        data=str(data),
        data_root=str(args.data_root),
        images=sizes["images"],
        image_size=sizes["image_size"],
        batch_size=sizes["batch_size"],
        precision=precision,
        workers=hardware.loader_workers() if args.workers is None else args.workers,
        protocol=args.protocol or protocol,
    )


def _table(pairs: Pairs, work: Work, against: str) -> Table:
    title = (
        f"{work.task}, {work.backbone}, {work.image_size} px, batch {work.batch_size}, "
        f"{work.precision}, {hardware.cpu_name()}, {hardware.cpu_cores()} cores, "
        f"{len(pairs.ours)} alternating pairs"
    )
    shown = Table(title=title, title_justify="left")
    shown.add_column("part")
    for name in ("ours, s", f"{against}, s", "ratio", "from … to"):
        shown.add_column(name, justify="right")
    common = [part for part in pairs.ours[0].seconds if part in pairs.other[0].seconds]
    whole = [""] if len(common) == len(pairs.ours[0].seconds) else []
    for part in common + whole:
        ratios = pairs.ratios(part)
        shown.add_row(
            part or "total",
            _median(pairs.ours, part),
            _median(pairs.other, part),
            f"{pairs.ratio(part):.2f}",
            f"{min(ratios):.2f} … {max(ratios):.2f}",
        )
    shown.add_row(
        "peak memory, MiB",
        f"{statistics.median(r.peak_mb for r in pairs.ours):.0f}",
        f"{statistics.median(r.peak_mb for r in pairs.other):.0f}",
    )
    return shown


def _median(runs: tuple[Run, ...], part: str) -> str:
    return f"{statistics.median(run.spent_on(part) for run in runs):.2f}"


def _content(
    pairs: Pairs, *, ours: Work, other: Work, counted: Arithmetic | None, asked: int
) -> dict[str, Any]:
    """The content of a record, with the number of requested pairs."""
    arithmetic = {}
    if counted:
        arithmetic = {
            "operations": counted.of_image * pairs.ours[0].images,
            "ceiling": counted.ceiling,
            "computed_in": {"ours": ours.computed_in, "other": other.computed_in},
        }
    return {
        "work": _described(ours),
        "ours": [dataclasses.asdict(run) for run in pairs.ours],
        "other": [dataclasses.asdict(run) for run in pairs.other],
        **circumstances(),
        "kind": "bench",
        "against": other.side,
        "ratio": pairs.ratio("train"),
        "ratios": pairs.ratios("train"),
        "asked": asked,
        "arithmetic": arithmetic,
    }


def _sides(task: str, against: str) -> list[str]:
    """The sides that one name in ``--against`` asks for.

    Raises:
        UserError: There is no such side; the message lists all sides.
    """
    if against in AGAINST[task]:
        return [against]
    from transfer.speed.hook import PARTS  # imports torch, which other sides do not need

    other = _OF_THE_OTHER_TASK.get(task)
    parts = {
        f"{LEAVING_OUT}{name}": listed
        for name, listed in PARTS.items()
        if other and listed.toolbox != other
    }
    if against == EACH_PART and parts:
        on_gpu = hardware.cuda_devices() > 0
        return [side for side, listed in parts.items() if on_gpu or not listed.gpu]
    known = [*AGAINST[task], *parts, *([EACH_PART] if parts else [])]
    if against not in known:
        raise UserError(f"{task} is not measured against '{against}': {suggestion(against, known)}")
    return [against]


def _place(work: Work, against: str, results: Path) -> Path:
    """A record's file, named after the start of its measurement."""
    name = f"{work.task}_{against.replace(' ', '-')}_{datetime.now(timezone.utc):%Y%m%dT%H%M%S}"
    return results / "records" / "bench" / f"{name}.json"


def _described(work: Work) -> dict[str, Any]:
    """A work without file locations."""
    fields = {k: v for k, v in dataclasses.asdict(work).items() if k not in ("side", "data_root")}
    return {**fields, "data": data_name(Path(work.data).name), "weights": Path(work.weights).name}
