"""``transfer merge``: the results of several machines, put together in one folder.

A cell that stands in several folders must have given the same there; where it did not, nothing is
merged. Everything is written beside its place first and moved there when all of it is on the disk.
Should a disk fail while files are moved, those that were stay: they are whole, and the next attempt
goes on from them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from backbones.common.escape import terminal
from backbones.common.json_file import read_json
from backbones.common.locks import try_lock
from backbones.common.regular_file import read_bytes
from transfer.records import records

MAX_FILE_BYTES = 1 << 29
"""Most bytes of a record, and of the per-image results beside it."""

_PART = ".merged"
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
        left_out: A sentence for each file that cannot be read.
    """

    chosen: dict[Path, Path] = field(default_factory=dict)
    results: dict[Path, tuple[Path, dict[str, Any]]] = field(default_factory=dict)
    kept: int = 0
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Merged:
    """What a merge did.

    Attributes:
        new: Records that were new.
        known: Records that were found once more.
        left_out: A sentence for each file that was left where it is: it cannot be read.
    """

    new: int
    known: int
    left_out: tuple[str, ...]


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
    done = merge(args.folders, args.results)
    print(
        terminal(
            f"{done.new} records merged into '{args.results}', {done.known} were known already"
        )
    )
    for sentence in done.left_out:
        print(f"Left out: {terminal(sentence)}")
    return 0


def merge(folders: list[Path], results: Path) -> Merged:
    """Copy records, and the per-image results beside them, into one folder.

    Args:
        folders: Results folders to take from.
        results: Where everything is put together.

    Raises:
        UserError: A folder without records, a cell with other results in two places; nothing is
            merged. Or a disk that cannot be written; the sentence says if some of the files are in
            their places.
    """
    with _alone(results):
        found = _Found()
        _look(results, results, found)
        for folder in folders:
            if not _look(folder, results, found):
                raise UserError(
                    f"'{folder}' holds no records: give a results folder, as --results names it in "
                    "'transfer run'. Nothing was merged."
                )
        _move(found.chosen)
    new = sum(path.suffix == ".json" for path in found.chosen)
    return Merged(new, found.kept, tuple(found.left_out))


def _look(folder: Path, results: Path, found: _Found) -> int:
    """Note what a folder adds; the number of its records."""
    found_here = [(path, place) for place in _PLACES for path in records.files(folder / place)]
    for path, place in found_here:
        target = results / place / path.name
        try:
            told = _results_of(path)
        except UserError as error:
            found.left_out.append(str(error))
            continue
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
            content = read_json(path)
            return {name: content[name] for name in _OF_A_CLASSIFIER}
        except (OSError, KeyError, TypeError) as error:
            raise UserError(
                f"The record '{path}' of a classifier cannot be read ({error!r}); remove it, or "
                "copy it anew."
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
    parts: dict[Path, Path] = {}
    moved = 0
    try:
        for target, source in chosen.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            parts[target] = target.with_name(f".{target.name}{_PART}")
            with parts[target].open("wb") as file:
                file.write(read_bytes(source, MAX_FILE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        for target in sorted(parts, key=lambda path: path.suffix == ".json"):
            os.replace(parts[target], target)
            moved += 1
    except OSError as error:
        told = (
            f"{moved} of {len(chosen)} files are in their places" if moved else "nothing was moved"
        )
        raise UserError(
            f"The records could not be merged ({error}): {told}. Make room, or choose another "
            "folder with --results, and run the command again."
        ) from error
    finally:
        _remove(parts.values())


@contextlib.contextmanager
def _alone(results: Path) -> Iterator[None]:
    """Keep other merges into a folder out, and remove what one that was killed has left.

    Raises:
        UserError: Another merge is on its way.
    """
    new = not results.exists()
    try:
        results.mkdir(parents=True, exist_ok=True)
        folder = os.open(results, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"'{results}' cannot be written ({error.strerror}).") from error
    try:
        if not try_lock(folder):
            raise UserError(f"Another 'transfer merge' works in '{results}'; wait until it ends.")
        _remove(part for place in _PLACES for part in (results / place).glob(f".*{_PART}"))
        yield
    finally:
        os.close(folder)
        if new:
            with contextlib.suppress(OSError):  # something stands in it
                results.rmdir()


def _remove(parts: Iterable[Path]) -> None:
    for part in parts:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
