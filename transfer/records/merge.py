"""``transfer merge``: merges the results of several machines into one folder.

Records of the same cell in several folders must agree; otherwise nothing is merged. All files are
written beside their places first, and moved when all of them are on the disk. If a disk fails
during the moves, the files moved so far stay: they are complete, and the next attempt continues.
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
from transfer.records import look_log, records
from transfer.records.look_log import LookLog

MAX_FILE_BYTES = 1 << 29
"""Size limits of a record and of its per-image results, in bytes."""

_PART = ".merged"
_PLACES = ("records", "records/classifiers", "sample/records")
_LOOKS = (look_log.FOLDER, f"sample/{look_log.FOLDER}")
_OF_A_CELL = ("cell", "headline", "metrics", "curve", "evaluations", "training")
_OF_A_CLASSIFIER = ("row", "identity", "metrics", "history")


@dataclass
class _Found:
    """Files to copy, and files that exist already.

    Attributes:
        chosen: For each place in the results folder, the file to copy there, or its content.
        results: For each record, its first location and its content without times.
        kept: Records that were found again.
        left_out: A sentence for each file that cannot be read.
        looks: For each file of looks in the results folder, the looks of all folders.
    """

    chosen: dict[Path, Path | bytes] = field(default_factory=dict)
    results: dict[Path, tuple[Path, dict[str, Any]]] = field(default_factory=dict)
    kept: int = 0
    left_out: list[str] = field(default_factory=list)
    looks: dict[Path, LookLog] = field(default_factory=dict)


@dataclass(frozen=True)
class Merged:
    """The outcome of a merge.

    Attributes:
        new: Number of new records.
        known: Number of records that were found again.
        left_out: A sentence for each unreadable file.
    """

    new: int
    known: int
    left_out: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add("folders", metavar="FOLDER", nargs="+", type=Path, help="results folders to merge")
    add("--results", type=Path, default=Path("results"), help="results folder to merge into")


def run(args: argparse.Namespace) -> int:
    """Merge, and print the number of new records.

    Raises:
        UserError: As :func:`merge`.
    """
    done = merge(args.folders, args.results)
    print(
        terminal(
            f"{done.new} records merged into '{args.results}', {done.known} were there already"
        )
    )
    for sentence in done.left_out:
        print(f"Left out: {terminal(sentence)}")
    return 0


def merge(folders: list[Path], results: Path) -> Merged:
    """Copy records with their per-image results into one folder, and join the looks at tables.

    Args:
        folders: Results folders to merge.
        results: Results folder to merge into.

    Raises:
        UserError: A folder has no records, two records of a cell differ, looks at a table cannot
            be read or do not fit together, and nothing is merged;
            or the disk is not writable, and the message says whether some files were moved.
    """
    with _alone(results):
        found = _Found()
        _look(results, results, found)
        for folder in folders:
            if not _look(folder, results, found):
                raise UserError(
                    f"'{folder}' holds no records: pass a results folder, as given to --results of "
                    "'transfer run'. Nothing was merged."
                )
        new = sum(path.suffix == ".json" for path in found.chosen)
        found.chosen |= {path: look_log.as_bytes(log) for path, log in found.looks.items()}
        _move(found.chosen)
    return Merged(new, found.kept, tuple(found.left_out))


def _look(folder: Path, results: Path, found: _Found) -> int:
    """Add a folder's files; returns the number of its records."""
    found_here = [(path, place) for place in _PLACES for path in records.files(folder / place)]
    for path, place in found_here:
        target = results / place / path.name
        try:
            content = _results_of(path)
        except UserError as error:
            found.left_out.append(str(error))
            continue
        first, known = found.results.setdefault(target, (path, content))
        if known != content:
            raise _conflict(first, known, path, content)
        if first != path:
            found.kept += 1
        elif path != target:
            found.chosen[target] = path
        images, beside = path.with_suffix(".npz"), target.with_suffix(".npz")
        if images.exists() and not beside.exists():
            found.chosen.setdefault(beside, images)
    for place in _LOOKS:
        for path in records.files(folder / place):
            _add_looks(path, results / place / path.name, found)
    return len(found_here)


def _add_looks(path: Path, target: Path, found: _Found) -> None:
    """Join a folder's looks at a table with those of the folders before it.

    Raises:
        UserError: They cannot be read, or do not fit together.
    """
    log = look_log.read(path)
    if log is None:
        return
    try:
        found.looks[target] = found.looks[target].joined(log) if target in found.looks else log
    except ValueError as error:
        raise UserError(
            f"'{path}' has looks at a table that another folder has looks at too, and {error}. "
            "Nothing was merged: such results have no common verdict."
        ) from error


def _results_of(path: Path) -> dict[str, Any]:
    """The content of a record, without times and paths.

    Raises:
        UserError: The record is incomplete.
    """
    if path.parent.name == "classifiers":
        try:
            content = read_json(path)
            return {name: content[name] for name in _OF_A_CLASSIFIER}
        except (OSError, KeyError, TypeError) as error:
            raise UserError(
                f"The classifier record '{path}' cannot be read ({error!r}); remove it, or "
                "copy it again."
            ) from error
    content = records.read(path).content
    kept = {name: content.get(name) for name in _OF_A_CELL}
    # The location of the weights is not a result.
    kept["cell"] = {name: value for name, value in content["cell"].items() if name != "weights"}
    return {**kept, "config": content["config"]["json"]}


def _conflict(first: Path, known: dict[str, Any], path: Path, content: dict[str, Any]) -> UserError:
    differing = [name for name in content if content[name] != known[name]]
    if known.get("headline") != content.get("headline"):
        figures = [f"{r['headline']['metric']} {r['headline']['value']}" for r in (known, content)]
        what = f"{figures[0]} in one, {figures[1]} in the other"
    else:
        what = f"they differ in {', '.join(differing)}"
    return UserError(
        f"'{first}' and '{path}' are records of the same run with different results: {what}. "
        "Nothing was merged; find out which is right, and remove the other."
    )


def _move(chosen: dict[Path, Path | bytes]) -> None:
    """Write all files beside their places, then move them, per-image results before records.

    Raises:
        UserError: A file cannot be read or written, and nothing was moved; or a file cannot be
            moved, and the files moved so far stay, since others may have read them.
    """
    parts: dict[Path, Path] = {}
    moved = 0
    try:
        for target, source in chosen.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            parts[target] = target.with_name(f".{target.name}{_PART}")
            with parts[target].open("wb") as file:
                if isinstance(source, Path):
                    source = read_bytes(source, MAX_FILE_BYTES)
                file.write(source)
                file.flush()
                os.fsync(file.fileno())
        for target in sorted(parts, key=lambda path: path.suffix == ".json"):
            os.replace(parts[target], target)
            moved += 1
    except OSError as error:
        moved_files = f"{moved} of {len(chosen)} files were moved" if moved else "nothing was moved"
        raise UserError(
            f"The records could not be merged ({error}): {moved_files}. Free some space, or "
            "choose another "
            "folder with --results, and run the command again."
        ) from error
    finally:
        _remove(parts.values())


@contextlib.contextmanager
def _alone(results: Path) -> Iterator[None]:
    """Lock a folder against other merges, and remove leftovers of a killed one.

    Raises:
        UserError: Another merge is running.
    """
    new = not results.exists()
    try:
        results.mkdir(parents=True, exist_ok=True)
        folder = os.open(results, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"'{results}' is not writable ({error.strerror}).") from error
    try:
        if not try_lock(folder):
            raise UserError(
                f"Another 'transfer merge' is running in '{results}'; wait until it ends."
            )
        _remove(
            part for place in (*_PLACES, *_LOOKS) for part in (results / place).glob(f".*{_PART}")
        )
        yield
    finally:
        os.close(folder)
        if new:
            with contextlib.suppress(OSError):  # it is not empty
                results.rmdir()


def _remove(parts: Iterable[Path]) -> None:
    for part in parts:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
