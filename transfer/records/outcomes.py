"""Per-image results of a detector or a segmenter, kept beside its record."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from backbones.common.errors import UserError
from transfer.records.array_file import read_arrays

IntArray = npt.NDArray[np.integer[Any]]
FloatArray = npt.NDArray[np.floating[Any]]
BoolArray = npt.NDArray[np.bool_]
_Kind = TypeVar("_Kind", bound="_Arrays")

_COUNTS = ("iu", 2)
_FORMS = {
    "images": ("U", 1),
    "image": ("iu", 1),
    "label": ("iu", 1),
    "score": ("f", 1),
    "correct": ("b", 1),
    "ignored": ("b", 1),
}
"""NumPy kind and number of dimensions of each array in a file that is not a count."""

_PER_DETECTION = ("image", "label", "score", "correct", "ignored")


@dataclass(frozen=True, eq=False)
class _Arrays:
    """Fields that are arrays, to and from a file."""

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Plain arrays by field, in the smallest types that hold them, for ``np.savez``."""
        return {field.name: _smallest(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_arrays(cls: type[_Kind], arrays: Mapping[str, npt.NDArray[Any]]) -> _Kind:
        """Read what :meth:`to_arrays` gave.

        Raises:
            UserError: a field is missing, or the fields do not fit one another.
        """
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in arrays]:
            lack = ", ".join(missing)
            raise UserError(f"per-image results lack {lack}; run the evaluation again")
        return cls(**{name: _checked(name, arrays[name]) for name in names})


@dataclass(frozen=True, eq=False, kw_only=True)
class DetectionOutcomes(_Arrays):
    """A detector's results on each test image, matched at one IoU threshold.

    Attributes:
        images: (images,) names of the test images.
        positives: (images, classes) non-difficult objects.
        image: (detections,) index into ``images``.
        label: (detections,) class, 0 to classes - 1.
        score: (detections,) confidence; equal scores keep their stored order.
        correct: (detections,) true for a true positive, false for a false one.
        ignored: (detections,) true for a match with a difficult object, which does not count.

    Raises:
        UserError: the sizes do not fit one another, or an index is out of range.
    """

    images: npt.NDArray[np.str_]
    positives: IntArray
    image: IntArray
    label: IntArray
    score: FloatArray
    correct: BoolArray
    ignored: BoolArray

    def __post_init__(self) -> None:
        _check_per_image(self.images, {"positives": self.positives})
        found = {name: getattr(self, name) for name in _PER_DETECTION}
        sizes = {name: len(array) for name, array in found.items()}
        if len(set(sizes.values())) > 1:
            raise UserError(
                f"per-detection results differ in length: {sizes}; run the evaluation again"
            )
        for name, limit in (("image", len(self.images)), ("label", self.positives.shape[1])):
            index = found[name]
            if len(index) and not 0 <= index.min() <= index.max() < limit:
                raise UserError(
                    f"per-detection results have {name} {index.min()} to {index.max()}, but there "
                    f"are only {limit}, counted from 0; run the evaluation again"
                )


@dataclass(frozen=True, eq=False)
class SegmentationOutcomes(_Arrays):
    """A segmenter's results on each test image, in pixels; unlabelled pixels are dropped.

    Attributes:
        images: (images,) names of the test images.
        intersection: (images, classes) pixels of a class predicted as this class.
        predicted: (images, classes) labelled pixels predicted as a class.
        labelled: (images, classes) pixels of a class.

    Raises:
        UserError: the sizes do not fit one another.
    """

    images: npt.NDArray[np.str_]
    intersection: IntArray
    predicted: IntArray
    labelled: IntArray

    def __post_init__(self) -> None:
        areas = ("intersection", "predicted", "labelled")
        _check_per_image(self.images, {name: getattr(self, name) for name in areas})


def image_names(files: Sequence[str], names: Sequence[str]) -> list[str]:
    """Unique names of test images.

    Args:
        files: Their paths.
        names: Their names in the data set, such as those of a VOC list.

    Returns:
        These names; if two are equal, the paths below their common folder, without extensions
        unless only those differ.
    """
    if len(set(names)) == len(names) or not all(files):
        return list(names)
    folder = os.path.commonpath([os.path.dirname(file) for file in files])
    below = [Path(os.path.relpath(file, folder)) for file in files]
    bare = [path.with_suffix("").as_posix() for path in below]
    return bare if len(set(bare)) == len(bare) else [path.as_posix() for path in below]


def read(path: Path, task: str) -> DetectionOutcomes | SegmentationOutcomes:
    """Read the per-image results beside a record.

    Args:
        path: The ``.npz`` file.
        task: ``"detection"`` or ``"segmentation"``.

    Raises:
        UserError: The file is missing, damaged, or of another kind.
    """
    kind = DetectionOutcomes if task == "detection" else SegmentationOutcomes
    try:
        arrays = read_arrays(path)
    except FileNotFoundError:
        raise UserError(f"there are no per-image results beside '{path.stem}.json'.") from None
    except OSError as error:
        raise UserError(f"'{path.absolute()}' cannot be read ({error.strerror}).") from error
    try:
        return kind.from_arrays(arrays)
    except UserError as error:
        raise UserError(f"'{path.absolute()}': {error}") from error


def _smallest(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same values in the smallest exact type."""
    if array.dtype.kind in "iu" and array.size:
        return array.astype(np.min_scalar_type(int(array.max())))
    if array.dtype.kind == "f" and np.array_equal(array, array.astype(np.float32)):
        return array.astype(np.float32)
    return array


def _checked(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A field as a signed type, so that sums and differences cannot wrap."""
    kinds, dimensions = _FORMS.get(name, _COUNTS)
    if array.dtype.kind not in kinds or array.ndim != dimensions:
        raise UserError(
            f"per-image results have {name} of type {array.dtype} and shape {array.shape}; "
            "run the evaluation again"
        )
    if array.dtype.kind in "iu":
        array = array.astype(np.int64)
        if array.size and array.min() < 0:
            raise UserError(f"per-image results have negative {name}; run the evaluation again")
    elif array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"per-image results have NaN in {name}; run the evaluation again")
    return array


def _check_per_image(images: npt.NDArray[Any], tables: Mapping[str, npt.NDArray[Any]]) -> None:
    shapes = {name: table.shape for name, table in tables.items()}
    fits = all(len(shape) == 2 and shape[0] == len(images) for shape in shapes.values())
    if not fits or len(set(shapes.values())) > 1 or len(images) == 0:
        raise UserError(
            f"per-image results of {len(images)} images need (images, classes) tables of the same "
            f"size, found {shapes}; run the evaluation again"
        )
