"""``transfer bench``: this project's speed against stock training, measured in pairs."""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.table import Table

from backbones import hardware
from backbones.atomic_write import write_atomically
from backbones.errors import UserError
from backbones.hardware import PRECISIONS
from backbones.versions import versions
from transfer.bench.pairs import Pairs, Run, Work, alternate
from transfer.bench.subset import link_subset
from transfer.datasets.catalogue import default_data_root
from transfer.report import provenance, speed
from transfer.report.terminal import screen

AGAINST = {
    "classification": ("timm", "network alone"),
    "detection": ("stock", "torchvision"),
    "segmentation": ("stock",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add("--task", choices=tuple(AGAINST), default="classification")
    add(
        "--against",
        default="auto",
        help="timm, 'network alone', stock or torchvision",
    )
    add("--backbone", default="resnet18_baseline", help="row of the zoo")
    add("--data", default="sample", help="ImageFolder, or a data set (default: the sample)")
    add("--data-root", type=Path, default=default_data_root(), help="folder of the data sets")
    add("--images", type=int, default=5120, help="images trained on in a run")
    add("--image-size", type=int, default=64, help="in pixels")
    add("--batch-size", type=int, default=128)
    add("--precision", choices=("auto", *PRECISIONS), default="auto")
    add("--workers", type=int, default=0, help="processes that read images, on both sides")
    add("--pairs", type=int, default=5)
    add("--results", type=Path, default=Path("results"), help="folder of the records")
    add("--table", action="store_true", help="measure nothing: write the README's tables anew")
    add("--readme", type=Path, default=Path("README.md"), help="with --table: the file")


def run(args: argparse.Namespace) -> int:
    """Measure, print, and keep a record.

    Raises:
        UserError: Nothing to measure against, or a side failed.
    """
    if args.table:
        speed.write(args.results, args.readme)
        return 0
    against = AGAINST[args.task][0] if args.against == "auto" else args.against
    if against not in AGAINST[args.task]:
        known = ", ".join(AGAINST[args.task])
        raise UserError(f"{args.task} is not measured against '{against}'; there is {known}.")
    with tempfile.TemporaryDirectory() as folder:
        ours = _work(args, Path(folder))
        other = dataclasses.replace(ours, side=against)
        console = screen()
        measured = list(
            alternate(
                ours,
                other,
                args.pairs,
                lambda side, done: console.print(
                    f"{side}: {done.total:.2f} s, {done.images / done.total:.1f} images/s",
                    highlight=False,
                ),
            )
        )
    pairs = Pairs(tuple(o for o, _ in measured), tuple(s for _, s in measured))
    console.print(_table(pairs, ours, against))
    path = _write(pairs, ours, against, args.results)
    console.print(f"recorded in {path}", highlight=False)
    return 0


def _work(args: argparse.Namespace, folder: Path) -> Work:
    precision = hardware.fast_precision() if args.precision == "auto" else args.precision
    data, images = args.data, args.images
    if args.task == "classification":
        data, images = link_subset(args.data, folder, args.images, args.batch_size)
    return Work(
        args.task,
        "ours",
        args.backbone,
        str(data),
        str(args.data_root),
        images,
        args.image_size,
        args.batch_size,
        precision,
        args.workers,
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
            part or "in all",
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


def _write(pairs: Pairs, work: Work, against: str, results: Path) -> Path:
    now = datetime.now(timezone.utc)
    told = {k: v for k, v in dataclasses.asdict(work).items() if k not in ("side", "data_root")}
    content: dict[str, Any] = {
        "kind": "bench",
        "against": against,
        "work": {**told, "data": Path(work.data).name},
        "ours": [dataclasses.asdict(run) for run in pairs.ours],
        "other": [dataclasses.asdict(run) for run in pairs.other],
        "ratio": pairs.ratio("train"),
        "ratios": pairs.ratios("train"),
        "versions": versions(),
        "hardware": provenance.machine(),
        "git": provenance.git_state(),
        "finished": now.isoformat(timespec="seconds"),
    }
    name = f"{work.task}_{against.replace(' ', '-')}_{now:%Y%m%dT%H%M%S}.json"
    path = results / "records" / "bench" / name
    write_atomically(path, json.dumps(content, indent=1, sort_keys=True).encode())
    return path
