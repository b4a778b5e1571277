"""``transfer show``: pictures of a run's predictions beside the ground truth."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backbones.common.errors import UserError
from backbones.common.regular_file import is_hidden
from backbones.common.screen import screen
from transfer.datasets import catalogue
from transfer.datasets.data_set import DataSet
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
    add(
        "cell",
        metavar="RUN",
        help="a record's file, or the id of a run (its first digits are enough)",
    )
    add("--images", type=int, default=12, metavar="N", help="number of images (default: 12)")
    add(
        "--pick",
        choices=PICKS,
        default="first",
        help="the first test images, or the worst or best by each image's own score",
    )
    add(
        "--score",
        type=float,
        metavar="S",
        help="show detections with at least this score, 0 to 1 (default: 0.3)",
    )
    add("--out", type=Path, help="output folder (default: pictures/<run>/<pick>)")
    add("--data", help="your own .toml file, if the run used one")
    add(
        "--data-root",
        type=Path,
        default=catalogue.default_data_root(),
        help="folder that holds the data sets",
    )
    add("--results", type=Path, default=Path("results"), help="results folder")
    add("--work-dir", type=Path, default=Path("work_dirs"), help="work directory of the run")


def run(args: argparse.Namespace) -> int:
    """Write the pictures and print their folder.

    Raises:
        UserError: The run does not exist, or its weights or images are gone.
    """
    if args.images < 1:
        raise UserError(f"--images is {args.images}; it must be 1 or more.")
    record = find(args.cell, args.results)
    _refuse_score(args.score, record)
    if "imported" in record.content:
        raise UserError(
            f"'{record.path.name}' was imported: its run left no weights here, so there are no "
            "predictions to draw."
        )
    data = data_of(record, args.data, args.data_root)
    # The toolboxes take seconds to import; the errors above come at once.
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


def data_of(record: Record, own: str | None, data_root: Path) -> DataSet:
    """The data set of a run.

    Args:
        record: The run's record.
        own: The user's own .toml file, if the run used one.
        data_root: Folder that holds the data sets.

    Raises:
        UserError: It is not on this machine, or lists other images than the run used.
    """
    name = record.cell["data"]
    if not own and name not in catalogue.names():
        raise UserError(
            f"The run used '{name}', a data set of your own: pass its .toml file with --data."
        )
    data = load_data(own or name, data_root)
    if data.fingerprint(record.cell["task"]) != record.cell["data_fingerprint"] and (
        name != "sample"
    ):
        raise UserError(
            f"'{data.root}' lists other images than the run used, or your .toml file has changed "
            "since; pass the run's data set with --data and --data-root."
        )
    return data


def _refuse_score(score: float | None, record: Record) -> None:
    if score is None:
        return
    if record.cell["task"] != "detection":
        raise UserError(
            f"'{record.path.name}' is a segmenter's, which has no scores: leave out --score."
        )
    if not 0 <= score <= 1:
        raise UserError(f"--score is {score:g}; it must be between 0 and 1.")


def _remarks(comparisons: Sequence[Comparison], classes: Sequence[str]) -> Iterator[str]:
    """Remarks on what the pictures cannot show."""
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
            f"{empty[0].least_score:g} or more; the highest score there is {best:.2f}. Use --score "
            "to show lower ones."
        )
    unreadable = [name for name in classes if legible(name) != name]
    if unreadable:
        yield (
            f"No font on this system has all characters of {len(unreadable)} of {len(classes)} "
            "class "
            "names: the pictures show Unicode numbers instead. Fonts such as Noto have them."
        )


def find(cell: str, results: Path) -> Record:
    """Find a record by its file, or by the first digits of its cell's id.

    Raises:
        UserError: No record matches, or several do.
    """
    if cell.endswith(".json"):
        return records.read(Path(cell))
    places = [
        path
        for path in results.rglob("records/*.json")
        if _is_of(path.stem, cell) and not is_hidden(path)
    ]
    # If a cell is in several folders, as after a merge, take the one nearest the top.
    nearest = {path.stem: path for path in sorted(places, key=_depth, reverse=True)}
    found = sorted(nearest.values())
    if len(found) == 1:
        return records.read(found[0])
    if not found:
        raise UserError(
            f"No record under '{results}' belongs to a run '{cell}'; give a record's file, or the "
            "id "
            "at the end of its name, and the results folder with --results."
        )
    names = ", ".join(path.stem for path in found)
    raise UserError(f"'{cell}' matches {names}; give more digits of the id.")


def _depth(path: Path) -> int:
    return len(path.parts)


def _is_of(stem: str, cell: str) -> bool:
    """Whether a record's name is the cell's, or ends with an id that begins with its digits."""
    return stem == cell or stem.rpartition("_")[2].startswith(cell)


def choose(
    cell: FinishedCell, *, record: Record, pick: str, count: int, least_score: float
) -> list[int]:
    """The indices of the test images to show."""
    if pick == "first":
        return list(range(min(count, len(cell.names))))
    from transfer.report.predictions.picks import image_figures

    outcomes = record.path.with_suffix(".npz")
    figures = image_figures(outcomes, record.cell["task"], cell.names, least_score).tolist()
    known = [index for index, figure in enumerate(figures) if figure == figure]
    sign = 1 if pick == "worst" else -1
    return sorted(known, key=lambda index: sign * figures[index])[:count]
