"""``transfer report``: all results on one self-contained HTML page."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from backbones.common.arguments import require_folder
from backbones.common.atomic_write import write_atomically
from backbones.common.errors import UserError
from transfer.datasets import catalogue
from transfer.report import collection, notes
from transfer.report.collection import Collection, settings
from transfer.report.gains import keep_look
from transfer.report.image_noise import noises_of
from transfer.report.page import Pictures, page
from transfer.report.pictures import style
from transfer.report.pictures.gallery import Picture
from transfer.report.predictions.on_page import ShownImage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    collection.add_arguments(parser)
    add = parser.add_argument
    add("--open", action="store_true", help="open the page in a browser")
    add("--out", type=Path, help="output file (default: report.html in the results folder)")
    add(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="folder for the pictures as SVG and PNG (default: SVG only, in pictures/ of the "
        "results folder; none with --out or --against)",
    )
    add(
        "--images",
        type=int,
        default=0,
        metavar="N",
        help="show predictions beside the truth for the N best, worst and most changed test "
        "images; the page then contains these images, so publish it only if you may publish them "
        "(default: 0)",
    )
    add("--data", help="with --images: your own .toml file, if the runs used one")
    add(
        "--data-root",
        type=Path,
        default=catalogue.default_data_root(),
        help="with --images: folder that holds the data sets",
    )
    add(
        "--work-dir",
        type=Path,
        default=Path("work_dirs"),
        help="with --images: work directory of the runs, which has their weights",
    )


def run(args: argparse.Namespace) -> int:
    """Write the page.

    Raises:
        UserError: The baseline is unknown, a file is not writable, or no browser can be opened.
    """
    if args.images < 0:
        raise UserError(f"--images is {args.images}; it must be 0 or more.")
    require_folder(args.results)
    home = args.results / "sample" if args.sample else args.results
    own_notes, unreadable = notes.read_notes(home)
    found = collection.asked(args)
    shown, without = _images(found, args) if args.images else ({}, [])
    found = replace(found, left_out=(*found.left_out, *unreadable, *without))
    drawn = Pictures.of(found)
    out = args.out or home / "report.html"
    written = page(
        found,
        drawn=drawn,
        noises=noises_of(found.gains),
        images=shown,
        notes=own_notes,
        place=out,
    )
    write_atomically(out, written.encode(), "--out" if args.out else "--results")
    for table in found.gains:
        keep_look(table)
    print(out)
    if of_sample := collection.only_of_the_sample(args):
        print(of_sample, file=sys.stderr)
    if args.pictures or not (
        args.out or args.against
    ):  # the README shows the pictures of the results folder
        for picture in drawn.all():
            for path in _save(picture, args.pictures, home):
                print(path)
    if args.open and not webbrowser.open(out.resolve().as_uri()):
        raise UserError(
            f"No browser can be opened here; copy the page '{out.resolve()}' to a machine "
            "with a browser: it needs no other file."
        )
    return 0


def _images(
    found: Collection, args: argparse.Namespace
) -> tuple[dict[str, list[ShownImage]], list[str]]:
    """The shown images of each setting, and a sentence for each setting that cannot have any."""
    from transfer.cli.shown_images import shown_images  # imports the toolboxes

    shown: dict[str, list[ShownImage]] = {}
    without: list[str] = []
    for name, tables in settings(found):
        try:
            shown[name] = shown_images(
                tables, args.images, data=args.data, data_root=args.data_root, work=args.work_dir
            )
        except UserError as error:
            without.append(f"No images of {tables[0].setting.title}: {error}")
    return shown, without


def _save(picture: Picture, folder: Path | None, home: Path) -> Iterator[Path]:
    """Write SVGs to the results folder; write PNGs too if a folder was requested."""
    stem = (folder or home / "pictures") / picture.name
    option = "--pictures" if folder else "--results"
    yield style.save(stem, ".svg", picture.svg, option)
    if folder:
        yield style.save(stem, ".png", style.png(picture.figure), option)
