"""``transfer show``: pictures of a cell's predictions beside the truth."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backbones.common.errors import UserError
from backbones.common.regular_file import is_hidden
from backbones.common.screen import screen
from transfer.datasets import catalogue
from transfer.plan.request import load_data
from transfer.records import records
from transfer.records.records import Record

if TYPE_CHECKING:
    from transfer.finetune.predict import FinishedCell
    from transfer.report.predictions.side_by_side import Comparison

PICKS = ("first", "worst", "best")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add("cell", metavar="CELL", help="a record's file, or a cell's id (its first digits will do)")
    add("--images", type=int, default=12, metavar="N", help="how many images (default: 12)")
    add(
        "--pick",
        choices=PICKS,
        default="first",
        help="the first of the test list, or the worst or best by the image's own figure",
    )
    add(
        "--score",
        type=float,
        metavar="S",
        help="of detections, show those of this score and over, 0 to 1 (default: 0.3)",
    )
    add("--out", type=Path, help="folder of the pictures (default: pictures/<cell>/<pick>)")
    add("--data", help="your own .toml, if the cell was run on one")
    add(
        "--data-root",
        type=Path,
        default=catalogue.default_data_root(),
        help="folder of the data sets",
    )
    add("--results", type=Path, default=Path("results"), help="folder of the records")
    add("--work-dir", type=Path, default=Path("work_dirs"), help="where the cell was run")


def run(args: argparse.Namespace) -> int:
    """Write the pictures and say where they are.

    Raises:
        UserError: There is no such cell, or its weights or images are gone.
    """
    if args.images < 1:
        raise UserError(f"--images is {args.images}; it must be 1 or more.")
    record = find(args.cell, args.results)
    _refuse_score(args.score, record)
    if "imported" in record.content:
        raise UserError(
            f"'{record.path.name}' was imported: its run left no weights here, and there is "
            "nothing to draw."
        )
    name = record.cell["data"]
    if not args.data and name not in catalogue.names():
        raise UserError(
            f"The cell was run on '{name}', a data set of your own: give its .toml with --data."
        )
    data = load_data(args.data or name, args.data_root)
    if data.fingerprint(record.cell["task"]) != record.cell["data_fingerprint"] and (
        name != "sample"
    ):
        raise UserError(
            f"'{data.root}' lists other images than the cell was run on, or your .toml has been "
            "changed since; give the data set with --data and --data-root."
        )
    # The toolboxes take seconds to import; what is wrong above is told at once.
    from transfer.finetune.predict import FinishedCell
    from transfer.report.predictions.sheet import write_sheets
    from transfer.report.predictions.side_by_side import SHOWN_SCORE

    least_score = SHOWN_SCORE if args.score is None else args.score
    cell = FinishedCell(record, data, args.work_dir / record.path.stem)
    indices = choose(
        cell, record=record, pick=args.pick, count=args.images, least_score=least_score
    )
    comparisons = list(cell.compare(indices, least_score))
    folder = args.out or Path("pictures") / record.path.stem / args.pick
    paths = write_sheets(comparisons, cell.classes, folder)
    screen().print(
        f"{len(paths)} pictures of {record.path.stem} ({record.measure} {record.value:.2f} %) are "
        f"in '{folder.absolute()}'.",
        highlight=False,
        soft_wrap=True,
    )
    for line in _remarks(comparisons, cell.classes):
        screen().print(line, highlight=False, soft_wrap=True)
    return 0


def _refuse_score(score: float | None, record: Record) -> None:
    if score is None:
        return
    if record.cell["task"] != "detection":
        raise UserError(f"'{record.path.name}' is of a segmenter, which has no scores: no --score.")
    if not 0 <= score <= 1:
        raise UserError(f"--score is {score:g}; it must be from 0 to 1.")


def _remarks(comparisons: Sequence[Comparison], classes: Sequence[str]) -> Iterator[str]:
    """What pictures cannot show."""
    from transfer.report.predictions.lettering import legible
    from transfer.report.predictions.side_by_side import Boxes

    found = [one.found for one in comparisons if isinstance(one.found, Boxes)]
    empty = [one for one in found if not one.shown()]
    if empty:
        best = max(
            (float(s) for one in empty if one.scores is not None for s in one.scores), default=0.0
        )
        yield (
            f"In {len(empty)} of {len(found)} pictures no detection has a score of "
            f"{empty[0].least_score:g} or more; the highest there is {best:.2f}. --score shows "
            "those of a lower one."
        )
    unreadable = [name for name in classes if legible(name) != name]
    if unreadable:
        yield (
            f"No font of this system has all signs of {len(unreadable)} of {len(classes)} class "
            "names: the pictures have Unicode numbers in their place. Fonts such as Noto have them."
        )


def find(cell: str, results: Path) -> Record:
    """A record by its file, or by the first digits of its cell's id.

    Raises:
        UserError: There is none, or more than one.
    """
    if cell.endswith(".json"):
        return records.read(Path(cell))
    places = [
        path
        for path in results.rglob("records/*.json")
        if _is_of(path.stem, cell) and not is_hidden(path)
    ]
    # Of one cell in several folders, as after a merge, the one nearest the top.
    nearest = {path.stem: path for path in sorted(places, key=_depth, reverse=True)}
    found = sorted(nearest.values())
    if len(found) == 1:
        return records.read(found[0])
    if not found:
        raise UserError(
            f"No record under '{results}' is of a cell '{cell}'; give a record's file, or the id "
            "that ends its name, and the records' folder with --results."
        )
    names = ", ".join(path.stem for path in found)
    raise UserError(f"'{cell}' could be {names}; give more digits of the id.")


def _depth(path: Path) -> int:
    return len(path.parts)


def _is_of(stem: str, cell: str) -> bool:
    """Whether a record's name is a cell's, or ends with an id that begins with its digits."""
    return stem == cell or stem.rpartition("_")[2].startswith(cell)


def choose(
    cell: FinishedCell, *, record: Record, pick: str, count: int, least_score: float
) -> list[int]:
    """The numbers of the test images to show."""
    if pick == "first":
        return list(range(min(count, len(cell.names))))
    from transfer.report.predictions.picks import image_figures

    outcomes = record.path.with_suffix(".npz")
    figures = image_figures(outcomes, record.cell["task"], cell.names, least_score).tolist()
    known = [index for index, figure in enumerate(figures) if figure == figure]
    sign = 1 if pick == "worst" else -1
    return sorted(known, key=lambda index: sign * figures[index])[:count]
