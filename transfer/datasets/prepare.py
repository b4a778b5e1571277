"""``transfer prepare``: downloads the public data sets and lays them out for the toolboxes.

Archives are downloaded to ``downloads`` in the data folder and kept there. Each is unpacked beside
its place and then moved, its proof last, so that existing files are complete. Existing files are
never overwritten.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.locks import try_lock
from backbones.common.screen import Screen
from backbones.weights.download import fetch, require_space, size_text, verify
from transfer.datasets import catalogue, voc_aug
from transfer.datasets.ade20k_full import refuse_full_release
from transfer.datasets.catalogue import Archive
from transfer.datasets.progress_bar import Notify, bars
from transfer.datasets.sample import ensure_sample
from transfer.datasets.unpack import unpack

NAMES = ("voc0712", "voc2012", "voc2012aug", "ade20k")
"""The downloadable data sets."""

_ALL = ("voc0712", "ade20k", "voc2012aug")  # voc0712 contains voc2012


def prepare(
    name: str, root: Path, source: Path | None = None, progress: Notify | None = None
) -> list[str]:
    """Put a public data set into the data folder.

    Args:
        name: One of :data:`NAMES`, ``"all"``, or ``"sample"``, which is drawn.
        root: The data folder, which is created if missing.
        source: A folder with archives downloaded elsewhere; None downloads them.
        progress: Notified of each step's progress.

    Returns:
        One sentence for each step.

    Raises:
        UserError: See :func:`backbones.weights.download.fetch` and
            :func:`transfer.datasets.unpack.unpack`; also if the full release of ADE20K is found
            instead of the challenge's data set.
    """
    notify = progress or (lambda what, done, total: None)
    try:
        root.mkdir(parents=True, exist_ok=True)
        if name == "sample":
            return [f"The sample is in '{ensure_sample(root / 'sample')}'."]
        with _alone(root):
            return _prepare(_ALL if name == "all" else (name,), root, source, notify)
    except OSError as error:
        raise UserError(
            f"'{error.filename or root}' could not be read or written ({error.strerror or error}); "
            "check that you have write permission and that the disk is not full, and run this "
            "again: finished steps are not repeated."
        ) from error


def prepare_archives(
    archives: Sequence[Archive], root: Path, source: Path | None, notify: Notify
) -> list[str]:
    """Download or find, verify and unpack the archives without a proof.

    Args:
        archives: The archives.
        root: The data folder.
        source: As for :func:`prepare`.
        notify: Notified of each step's progress.

    Returns:
        One sentence for each archive.

    Raises:
        UserError: As :func:`prepare`.
    """
    missing = [archive for archive in archives if not _proof(archive, root)]
    _require_sources(missing, root, source)
    sentences = []
    for archive in archives:
        proof = _proof(archive, root)
        if proof:
            sentences.append(f"{archive.name}: already unpacked ('{proof}'), left unchanged.")
            continue
        path = _obtain(archive, root, source, notify)
        _lay_out(archive, path, root, notify)
        sentences.append(f"{archive.name}: unpacked into '{root / archive.place}'.")
    if missing and source is None:
        size = size_text(sum(archive.size for archive in missing))
        sentences.append(
            f"The archives ({size}) stay in '{root / 'downloads'}'; you can remove them."
        )
    return sentences


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("name", choices=(*NAMES, "all", "sample"), help="which data set")
    parser.add_argument(
        "--root",
        type=Path,
        default=catalogue.default_data_root(),
        metavar="DIR",
        help="folder that holds the data sets (default: $TRANSFER_DATA, or data)",
    )
    parser.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="DIR",
        help="use archives in this folder instead of downloading them",
    )


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0.

    Raises:
        UserError: As :func:`prepare`.
    """
    console = Screen(highlight=False)
    with bars(console) as notify:
        sentences = prepare(args.name, args.root, args.source, notify)
    names = _ALL if args.name == "all" else (args.name,)
    root = shlex.quote(str(args.root))
    checks = [f"    transfer check {name} --data-root {root}" for name in names]
    for line in (*sentences, "To check every file:", *checks):
        console.print(line, soft_wrap=True)
    return 0


def _prepare(names: Sequence[str], root: Path, source: Path | None, notify: Notify) -> list[str]:
    devkit = root / "VOCdevkit"
    sentences = []
    archives: dict[str, Archive] = {}
    for name in names:
        if name == "voc2012aug" and voc_aug.is_built(devkit):
            sentences.append(f"SegmentationClassAug: already built in '{devkit}', left unchanged.")
            continue
        archives |= {archive.name: archive for archive in catalogue.archives(name)}
    if "ade20k" in names:
        _refuse_full_ade20k(archives["ADEChallengeData2016.zip"], root, source)
    sentences += prepare_archives(list(archives.values()), root, source, notify)
    if "benchmark.tgz" in archives:
        masks = catalogue.load("voc2012aug", root).segmentation
        assert masks
        count = voc_aug.build(devkit, masks.train.count, partial(notify, "SegmentationClassAug"))
        sentences.append(f"SegmentationClassAug: built, with {count:,} images in trainaug.txt.")
    return sentences


def _refuse_full_ade20k(archive: Archive, root: Path, source: Path | None) -> None:
    """Raise UserError if the full release is in the place of the challenge's data set."""
    if _proof(archive, root):
        return
    for folder in (root, root / "ade", root / archive.place):
        refuse_full_release(folder)
    if source and not (source / archive.name).exists():
        refuse_full_release(source)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Lock a folder against other processes that prepare it."""
    folder = os.open(root, os.O_RDONLY)
    try:
        if not try_lock(folder):
            raise UserError(
                f"Another 'transfer prepare' is running in '{root}'; wait until it ends."
            )
        yield
    finally:
        os.close(folder)


def _proof(archive: Archive, root: Path) -> Path | None:
    return next((root / proof for proof in archive.proof if (root / proof).exists()), None)


def _require_sources(missing: list[Archive], root: Path, source: Path | None) -> None:
    """Check before any long step that the given archives exist and the disk has space."""
    unpacked = sum(archive.size for archive in missing)  # images hardly shrink in an archive
    if source is None:
        fetched = [a for a in missing if not (root / "downloads" / a.name).exists()]
        need = unpacked + sum(archive.size for archive in fetched)
        require_space(root, need, "Downloading and unpacking the archives")
        return
    absent = [archive for archive in missing if not (source / archive.name).is_file()]
    if absent:
        wanted = "; ".join(f"{archive.name} from {archive.url}" for archive in absent)
        raise UserError(f"'{source}' lacks archives: add {wanted}, and run this again.")
    require_space(root, unpacked, "Unpacking the archives")


def _obtain(archive: Archive, root: Path, source: Path | None, notify: Notify) -> Path:
    """The archive's file, verified."""
    if source is None:
        return fetch(
            archive.url,
            root / "downloads" / archive.name,
            checksum=archive.checksum,
            size=archive.size,
            progress=partial(notify, f"{archive.name}: downloading {size_text(archive.size)}"),
        )
    path = source / archive.name
    verify(path, archive.checksum, archive.size, partial(notify, f"{archive.name}: verifying"))
    return path


def _lay_out(archive: Archive, path: Path, root: Path, notify: Notify) -> None:
    """Unpack beside the place, then move."""
    place = root / archive.place
    near = next(folder for folder in (place, *place.parents) if folder.is_dir())
    staging = near.resolve() / f".unpacking-{archive.name}"
    shutil.rmtree(staging, ignore_errors=True)  # left by a killed run
    wanted = tuple(f"{archive.inside}/{part}" for part in archive.only or ("",))
    unpack(
        path,
        into=staging,
        most=archive.unpacked,
        wanted=wanted,
        progress=partial(notify, f"{archive.name}: unpacking"),
    )
    try:
        new = staging / archive.inside
        proofs = [new / os.path.relpath(root / proof, place) for proof in archive.proof]
        if not any(proof.exists() for proof in proofs):
            raise UserError(
                f"'{path}' was unpacked but lacks '{archive.proof[0]}', so it is another archive; "
                f"download {archive.url}."
            )
        _refuse_conflicts(new, place)
        _move(new, place, proofs)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _refuse_conflicts(new: Path, place: Path) -> None:
    for path in new.rglob("*"):
        old = place / path.relative_to(new)
        if path.is_file() and old.exists() and (path.stat().st_size != old.stat().st_size):
            raise UserError(
                f"'{old}' has {old.stat().st_size} bytes, but in the archive it has "
                f"{path.stat().st_size}, so it is truncated or changed; move it away and run this "
                "again. Nothing was moved."
            )


def _move(new: Path, place: Path, proofs: list[Path]) -> None:
    """Move a folder's content, its proof last, so that the proof implies the rest."""
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        new.rename(place)
    elif new.is_dir():
        for entry in sorted(new.iterdir(), key=lambda e: _holds(e, proofs)):
            _move(entry, place / entry.name, proofs)


def _holds(entry: Path, proofs: list[Path]) -> bool:
    return any(proof.is_relative_to(entry) for proof in proofs)
