"""``transfer merge``: the results of several machines, put together in one folder.

A cell that stands in several folders must have given the same there; where it did not, nothing is
merged. Everything is written beside its place first and moved there when all of it is on the disk.
Should a disk fail while files are moved, those that were stay: they are whole, and the next attempt
goes on from them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from transfer.records import records

_PLACES = ("records", "records/classifiers", "sample/records")
_OF_A_CELL = ("cell", "headline", "metrics", "curve", "evaluations", "training")
_OF_A_CLASSIFIER = ("row", "identity", "metrics", "history")


@dataclass
class _Found:
    """What is to be copied, and what is there already.

    Attributes:
        chosen: For each place in the results folder, the file that goes there.
        results: For each record, where it was found first and what it says but for times.
        kept: Records that were found once more.
    """

    chosen: dict[Path, Path] = field(default_factory=dict)
    results: dict[Path, tuple[Path, dict[str, Any]]] = field(default_factory=dict)
    kept: int = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add("folders", metavar="FOLDER", nargs="+", type=Path, help="results folders to take from")
    add("--results", type=Path, default=Path("results"), help="folder that they are merged into")


def run(args: argparse.Namespace) -> int:
    """Merge, and say how many records were new.

    Raises:
        UserError: As :func:`merge`.
    """
    new, known = merge(args.folders, args.results)
    print(f"{new} records merged into '{args.results}', {known} were known already")
    return 0


def merge(folders: list[Path], results: Path) -> tuple[int, int]:
    """Copy records, and the per-image results beside them, into one folder.

    Args:
        folders: Results folders to take from.
        results: Where everything is put together.

    Returns:
        Records that were new, and records that were found once more.

    Raises:
        UserError: A folder without records, a record that cannot be read, a cell with other
            results in two places; nothing is merged. Or a disk that cannot be written; the
            sentence says if some of the files are in their places.
    """
    found = _Found()
    _look(results, results, found)
    for folder in folders:
        if not _look(folder, results, found):
            raise UserError(
                f"'{folder}' holds no records: give a results folder, as --results names it in "
                "'transfer run'. Nothing was merged."
            )
    _move(found.chosen)
    return sum(path.suffix == ".json" for path in found.chosen), found.kept


def _look(folder: Path, results: Path, found: _Found) -> int:
    """Note what a folder adds; the number of its records."""
    found_here = [(path, place) for place in _PLACES for path in records.files(folder / place)]
    for path, place in found_here:
        target = results / place / path.name
        told = _results_of(path)
        first, known = found.results.setdefault(target, (path, told))
        if known != told:
            raise _conflict(first, known, path, told)
        if first != path:
            found.kept += 1
        elif path != target:
            found.chosen[target] = path
        images, beside = path.with_suffix(".npz"), target.with_suffix(".npz")
        if images.exists() and not beside.exists():
            found.chosen.setdefault(beside, images)
    return len(found_here)


def _results_of(path: Path) -> dict[str, Any]:
    """What a record of a cell or of a classifier says, but for times and places.

    Raises:
        UserError: It is no whole record.
    """
    if path.parent.name == "classifiers":
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return {name: content[name] for name in _OF_A_CLASSIFIER}
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(
                f"The record '{path}' of a classifier cannot be read ({error!r}); remove it, or "
                "copy it anew. Nothing was merged."
            ) from error
    content = records.read(path).content
    told = {name: content.get(name) for name in _OF_A_CELL}
    # Where the weights lay is no result.
    told["cell"] = {name: value for name, value in content["cell"].items() if name != "weights"}
    return {**told, "config": content["config"]["json"]}


def _conflict(first: Path, known: dict[str, Any], path: Path, told: dict[str, Any]) -> UserError:
    differing = [name for name in told if told[name] != known[name]]
    if known.get("headline") != told.get("headline"):
        figures = [f"{r['headline']['metric']} {r['headline']['value']}" for r in (known, told)]
        what = f"{figures[0]} in the one, {figures[1]} in the other"
    else:
        what = f"they differ in {', '.join(differing)}"
    return UserError(
        f"'{first}' and '{path}' are records of one cell with other results: {what}. Nothing was "
        "merged; find out which is right, and remove the other."
    )


def _move(chosen: dict[Path, Path]) -> None:
    """Write every file beside its place, then move all of them; per-image results before records.

    Raises:
        UserError: A file cannot be read or written, and nothing has been moved; or it cannot be
            moved, and those that were stay, as another may have found them since.
    """
    staged: dict[Path, Path] = {}
    moved = 0
    try:
        for target, source in chosen.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            staged[target] = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
            with staged[target].open("wb") as file:
                file.write(source.read_bytes())
                file.flush()
                os.fsync(file.fileno())
        for target in sorted(staged, key=lambda path: path.suffix == ".json"):
            os.replace(staged[target], target)
            moved += 1
    except OSError as error:
        for part in staged.values():
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        told = (
            f"{moved} of {len(staged)} files are in their places" if moved else "nothing was moved"
        )
        raise UserError(
            f"The records could not be merged ({error}): {told}. Make room, or choose another "
            "folder with --results, and run the command again."
        ) from error
