"""Puts the sample on disk, whole or not at all.

Every image has a random generator of its own, keyed by the seed and the image's place in the
sample. So the number of processes that draw does not matter, and one set of library versions on one
kind of processor gives the same bytes each time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backbones.common.errors import UserError
from backbones.common.json_file import read_json
from backbones.common.regular_file import UnfitFile
from backbones.runtime.child_processes import die_with
from transfer.datasets.sample.classes import CLASSES, SEGMENTATION_CLASSES

if TYPE_CHECKING:
    import numpy as np

    from transfer.datasets.sample.scenes import Scene

try:
    import fcntl
except ImportError:  # Windows, where a folder in use cannot be renamed anyway
    fcntl = None  # type: ignore[assignment]

VERSION = 3
"""Increased whenever the same seed gives another picture, label, layout or number of images."""

JPEG_QUALITY = (75, 95)
"""Least and greatest quality that images are saved with."""

Progress = Callable[[int, int], None]
"""Called with the number of drawn images, and their total."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many images there are of each kind."""

    classification_train_per_class: int = 144
    classification_val_per_class: int = 24
    detection_2007_trainval: int = 32
    detection_2007_test: int = 50
    detection_2012_trainval: int = 32
    segmentation_training: int = 64
    segmentation_validation: int = 40


SIZES = Sizes()
"""The sample as the project uses it."""

MARK = "sample.json"
VOC, ADE, FOLDER = "VOCdevkit", "ADEChallengeData2016", "ImageFolder"


@dataclass(frozen=True)
class _Job:
    """One image to draw.

    Attributes:
        part: ``FOLDER``, ``VOC`` or ``ADE``.
        split: Path of the list or folder that the image is counted under.
        index: Number of the image in its split, from 0.
        files: Files to write, relative to the root: the image, then its annotation if it has one.
    """

    part: str
    split: str
    index: int
    files: tuple[str, ...]

    @property
    def key(self) -> tuple[int, ...]:
        """What sets this image's random generator apart from that of every other image."""
        name = hashlib.sha256(self.split.encode()).digest()
        return int.from_bytes(name[:4], "big"), self.index

    @property
    def label(self) -> int:
        """Class of the object in front, or of the material of a picture without: each in turn."""
        return self.index % len(SEGMENTATION_CLASSES if self.part == FOLDER else CLASSES)


def draw_sample(
    root: Path,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    sizes: Sizes | None = None,
    workers: int | None = None,
) -> None:
    """Draws the sample beside ``root`` and moves it there once it is whole.

    An earlier sample in ``root`` is replaced, unless it is whole and of this seed, version and
    sizes: another process has then drawn the same and may be reading it.

    Args:
        root: Folder to hold the sample; absent, empty or an earlier sample.
        seed: Sets the whole sample; 0 or more.
        progress: Called after each image, in this thread.
        sizes: Numbers of images; :data:`SIZES` where none are given.
        workers: Number of processes; by default one for each processor. Does not change the sample.

    Raises:
        UserError: ``root`` holds something else, or cannot be written.
    """
    root = root.resolve()
    sizes = sizes or SIZES
    with _explained(root):
        _refuse_foreign(root)
        root.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
        try:
            # One level down, because mkdtemp's folder is accessible only to this user.
            drawn = scratch / "new"
            _draw_all(
                drawn,
                seed=seed,
                progress=progress,
                sizes=sizes,
                workers=workers or os.cpu_count() or 1,
            )
            with _locked(root.parent):
                if not _is_whole(root, seed, sizes):
                    _refuse_foreign(root)
                    if root.exists():
                        root.rename(scratch / "old")
                    drawn.rename(root)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def ensure_sample(
    root: Path,
    seed: int = 0,
    progress: Progress | None = None,
    *,
    sizes: Sizes | None = None,
    workers: int | None = None,
) -> Path:
    """Draws the sample unless it is there.

    Args:
        root: Folder that holds or is to hold the sample.
        seed: As for :func:`draw_sample`; a sample of another seed is replaced.
        progress: As for :func:`draw_sample`; not called when there is nothing to draw.
        sizes: As for :func:`draw_sample`; a sample of other sizes is replaced.
        workers: As for :func:`draw_sample`.

    Returns:
        ``root``.

    Raises:
        UserError: ``root`` holds something else, or cannot be read or written.
    """
    sizes = sizes or SIZES
    with _explained(root):
        whole = _is_whole(root, seed, sizes)
    if not whole:
        draw_sample(root, seed, progress, sizes=sizes, workers=workers)
    return root


# --- What is there -------------------------------------------------------------------------------


def _read_mark(root: Path) -> dict[str, object] | None:
    """Reads ``sample.json``; None where there is none that this module could have written."""
    try:
        mark = read_json(root / MARK)
    except (FileNotFoundError, NotADirectoryError, UnfitFile):
        return None
    return mark if isinstance(mark, dict) and "version" in mark and "sha256" in mark else None


def _is_whole(root: Path, seed: int, sizes: Sizes) -> bool:
    """Tells whether a sample of this seed, version and sizes is there with all its files."""
    mark = _read_mark(root)
    wanted = {"version": VERSION, "seed": seed, "counts": asdict(sizes)}
    if mark is None or any(mark.get(name) != value for name, value in wanted.items()):
        return False
    jobs = _plan(sizes)
    files = [*_list_files(jobs), *(name for job in jobs for name in job.files)]
    files.append(f"{ADE}/objectInfo.txt")
    try:
        # A power cut can leave a file that has its name but not its contents.
        return all(os.stat(root / name).st_size > 0 for name in files)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _refuse_foreign(root: Path) -> None:
    """Raises UserError if replacing ``root`` would lose something that is not the sample's."""
    if not root.exists():
        return
    if not root.is_dir():
        raise UserError(f"'{root}' is a file; name a folder for the sample.")
    found = {entry.name for entry in root.iterdir()}
    if not found:
        return
    others = found if _read_mark(root) is None else found - {MARK, VOC, ADE, FOLDER}
    if others:
        raise UserError(
            f"'{root}' holds files that are not the sample's, such as '{min(others)}'; "
            "move them away or name another folder."
        )


@contextlib.contextmanager
def _explained(root: Path) -> Iterator[None]:
    """Turns what the operating system refuses into a sentence about ``root``."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The sample cannot be kept in '{root}' ({error.strerror or error}); "
            "make room and allow writing there, or name another folder."
        ) from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from moving a sample into ``folder``; ends with the process."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        # A file system without locks still has atomic renames, all that most cases need.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


# --- What belongs there --------------------------------------------------------------------------


def _plan(sizes: Sizes) -> list[_Job]:
    """Lists every image of the sample."""
    jobs = []
    for split, count in (
        ("train", sizes.classification_train_per_class),
        ("val", sizes.classification_val_per_class),
    ):
        folder = f"{FOLDER}/{split}"
        for index in range(count * len(SEGMENTATION_CLASSES)):
            number, label = divmod(index, len(SEGMENTATION_CLASSES))
            name = f"{folder}/{SEGMENTATION_CLASSES[label]}/{number + 1}.jpg"
            jobs.append(_Job(FOLDER, folder, index, (name,)))
    for year, split, count, start in (
        ("2007", "trainval", sizes.detection_2007_trainval, 0),
        ("2007", "test", sizes.detection_2007_test, sizes.detection_2007_trainval),
        ("2012", "trainval", sizes.detection_2012_trainval, 0),
    ):
        folder, prefix = f"{VOC}/VOC{year}", "2012_" if year == "2012" else ""
        for index in range(count):
            name = f"{prefix}{start + index + 1:06d}"
            files = (f"{folder}/JPEGImages/{name}.jpg", f"{folder}/Annotations/{name}.xml")
            jobs.append(_Job(VOC, f"{folder}/ImageSets/Main/{split}.txt", index, files))
    for split, short, count in (
        ("training", "train", sizes.segmentation_training),
        ("validation", "val", sizes.segmentation_validation),
    ):
        for index in range(count):
            name = f"{split}/ADE_{short}_{index + 1:08d}"
            files = (f"{ADE}/images/{name}.jpg", f"{ADE}/annotations/{name}.png")
            jobs.append(_Job(ADE, f"{ADE}/images/{split}", index, files))
    return jobs


def _list_files(jobs: Iterable[_Job]) -> dict[str, list[str]]:
    """Collects the identifiers that go into each list of ``ImageSets``, by path of the list."""
    lists: dict[str, list[str]] = {}
    for job in jobs:
        if job.part == VOC:
            lists.setdefault(job.split, []).append(Path(job.files[0]).stem)
    return lists


# --- Drawing -------------------------------------------------------------------------------------


def _draw_all(
    folder: Path, *, seed: int, progress: Progress | None, sizes: Sizes, workers: int
) -> None:
    """Draws the sample into a new folder, ``sample.json`` last."""
    jobs = _plan(sizes)
    for parent in {(folder / name).parent for job in jobs for name in (job.split, *job.files)}:
        parent.mkdir(parents=True, exist_ok=True)
    pixels: Counter[int] = Counter()
    drawn = _draw_each(functools.partial(_draw, folder, seed), jobs, workers)
    with contextlib.closing(drawn):
        for done, (job, counts) in enumerate(zip(jobs, drawn, strict=True), start=1):
            if job.split.endswith("/training"):
                pixels.update(counts)
            if progress is not None:
                progress(done, len(jobs))
    for name, identifiers in _list_files(jobs).items():
        (folder / name).write_text("".join(f"{i}\n" for i in identifiers), encoding="ascii")
    (folder / ADE / "objectInfo.txt").write_text(_object_info(pixels), encoding="ascii")
    mark = {
        "version": VERSION,
        "seed": seed,
        "counts": asdict(sizes),
        "sha256": _digest(folder),
    }
    (folder / MARK).write_text(json.dumps(mark, indent=2) + "\n", encoding="ascii")


def _draw_each(
    draw: Callable[[_Job], dict[int, int]], jobs: list[_Job], workers: int
) -> Generator[dict[int, int], None, None]:
    """Draws images, in other processes if that helps; yields what :func:`_draw` returns, in order.

    Threads would not help: a picture is thousands of short calls that hold the interpreter's lock.
    """
    # Elsewhere new processes would run the caller's script again, which it may not be written for.
    if workers == 1 or sys.platform != "linux":
        yield from map(draw, jobs)
        return
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(os.getpid(),))
    try:
        yield from pool.map(draw, jobs, chunksize=max(1, min(16, len(jobs) // (4 * workers))))
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(parent: int) -> None:
    """Leaves interrupts to the parent, and keeps OpenCV from threads that the fork did not copy."""
    import cv2

    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)


def _draw(folder: Path, seed: int, job: _Job) -> dict[int, int]:
    """Draws one image and writes its files.

    Args:
        folder: Root of the layout.
        seed: Seed of the sample.
        job: The image.

    Returns:
        Number of pixels of each value of its mask; empty if it has no mask.
    """
    # The drawing libraries take longer to import than everything else here.
    import numpy as np
    from PIL import Image

    from transfer.datasets.sample.scenes import draw_crop, draw_scene

    rng = np.random.default_rng((seed, *job.key))
    if job.part == FOLDER:
        _save_jpeg(folder / job.files[0], draw_crop(rng, job.label), rng)
        return {}
    scene = draw_scene(rng, job.label)
    _save_jpeg(folder / job.files[0], scene.image, rng)
    annotation = folder / job.files[1]
    if job.part == VOC:
        annotation.write_text(_voc_xml(job.files[0], scene), encoding="ascii")
        return {}
    Image.fromarray(scene.segmentation).save(annotation)
    return dict(enumerate(np.bincount(scene.segmentation.ravel()).tolist()))


def _save_jpeg(path: Path, image: np.ndarray, rng: np.random.Generator) -> None:
    from PIL import Image

    quality = int(rng.integers(*JPEG_QUALITY, endpoint=True))
    Image.fromarray(image).save(path, quality=quality)


def _voc_xml(image: str, scene: Scene) -> str:
    """Writes a scene's boxes as Pascal VOC does, pixels counted from 1 and the last one included.

    Args:
        image: Path of the image in the layout, such as ``VOCdevkit/VOC2007/JPEGImages/x.jpg``.
        scene: The scene.
    """
    _, year, _, name = image.split("/")
    height, width, depth = scene.image.shape
    lines = [
        "<annotation>",
        f"\t<folder>{year}</folder>",
        f"\t<filename>{name}</filename>",
        "\t<source>",
        "\t\t<database>The built-in sample</database>",
        "\t</source>",
        "\t<size>",
        f"\t\t<width>{width}</width>",
        f"\t\t<height>{height}</height>",
        f"\t\t<depth>{depth}</depth>",
        "\t</size>",
        "\t<segmented>0</segmented>",
    ]
    for instance in scene.instances:
        lines += [
            "\t<object>",
            f"\t\t<name>{CLASSES[instance.label]}</name>",
            "\t\t<pose>Unspecified</pose>",
            f"\t\t<truncated>{int(instance.truncated)}</truncated>",
            f"\t\t<difficult>{int(instance.difficult)}</difficult>",
            "\t\t<bndbox>",
        ]
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), instance.box, strict=True):
            lines.append(f"\t\t\t<{side}>{value + 1}</{side}>")
        lines += ["\t\t</bndbox>", "\t</object>"]
    return "\n".join([*lines, "</annotation>", ""])


def _object_info(pixels: Counter[int]) -> str:
    """Tabulates the mask values: index, share of the labelled training pixels, and name."""
    labelled = sum(count for value, count in pixels.items() if value) or 1
    rows = ["Idx\tRatio\tName"]
    for value, name in enumerate(SEGMENTATION_CLASSES, start=1):
        rows.append(f"{value}\t{pixels[value] / labelled:.4f}\t{name}")
    return "\n".join([*rows, ""])


def _digest(folder: Path) -> str:
    """Hashes the sorted paths and contents of all files below a folder, as hexadecimal digits."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return total.hexdigest()
