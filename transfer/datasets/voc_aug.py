"""SegmentationClassAug: VOC 2012's masks and those of SBD, the Semantic Boundaries Dataset.

The lists are those of MMSegmentation's converter, ``tools/dataset_converters/voc_aug.py``::

    trainaug = (VOC train ∪ SBD train ∪ SBD val) − VOC val      10,582 names
    aug      = trainaug − VOC train                              9,118 names

If VOC itself has a mask of an image, in train or val, it is used, since it is finer than SBD's and
has the ignored border (255), which SBD's masks lack. The names are sorted; the converter leaves
their order to chance.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.io import loadmat

from backbones.common.errors import UserError
from transfer.datasets.readers import BadFile, read_file, read_mask

_MOST_BYTES = 1 << 22  # of a mask or a list
_CLASSES = 20


def is_built(devkit: Path) -> bool:
    """Whether the masks and their list exist; the list is written last."""
    voc = devkit / "VOC2012"
    return (voc / "SegmentationClassAug").is_dir() and _list(voc, "trainaug").is_file()


def build(
    devkit: Path, expected: int | None, progress: Callable[[int, int | None], None] | None = None
) -> int:
    """Write the masks of trainaug and val, then the lists ``aug`` and ``trainaug``.

    Existing masks are left unchanged.

    Args:
        devkit: The folder with VOC2012, and with SBD as VOCaug/dataset.
        expected: Number of names in the original trainaug, if known.
        progress: Notified of the number of masks.

    Returns:
        The number of names in trainaug.

    Raises:
        UserError: A list or mask is missing or damaged, or the lists are not the originals.
    """
    voc, sbd = devkit / "VOC2012", devkit / "VOCaug" / "dataset"
    train, val = _names(_list(voc, "train")), _names(_list(voc, "val"))
    more = _names(sbd / "train.txt") | _names(sbd / "val.txt")
    trainaug = (train | more) - val
    if expected is not None and len(trainaug) != expected:
        raise UserError(
            f"The lists of '{voc}' and '{sbd}' give {len(trainaug)} training images, not "
            f"{expected}, so they are not the originals; unpack both archives again."
        )
    masks = voc / "SegmentationClassAug"
    masks.mkdir(exist_ok=True)
    wanted = sorted(trainaug | val)
    for done, name in enumerate(wanted, 1):
        if not (masks / f"{name}.png").exists():
            if name in train or name in val:
                mask = read_mask(voc / "SegmentationClass" / f"{name}.png")
            else:
                mask = read_sbd_mask(sbd / "cls" / f"{name}.mat")
            _write(masks / f"{name}.png", _png(mask))
        if progress:
            progress(done, len(wanted))
    for list_name, names in (("aug", trainaug - train), ("trainaug", trainaug)):
        _write(_list(voc, list_name), "".join(f"{name}\n" for name in sorted(names)).encode())
    return len(trainaug)


def read_sbd_mask(path: Path) -> NDArray[np.uint8]:
    """Read the classes of one of SBD's MATLAB files.

    Returns:
        Shape (height, width), 0 for background, 1 to 20 for VOC's classes.

    Raises:
        BadFile: Not such a file.
    """
    content = BytesIO(read_file(path, _MOST_BYTES))
    try:
        mask = loadmat(content, variable_names=["GTcls"])["GTcls"]["Segmentation"][0, 0]
    except Exception as error:  # SciPy raises all kinds of errors on other files
        raise BadFile(path, f"is not one of SBD's MATLAB files ({error})") from error
    if mask.ndim != 2 or mask.dtype.kind not in "ui" or not mask.size or mask.max() > _CLASSES:
        raise BadFile(path, f"contains no mask with classes 0 to {_CLASSES}")
    return np.ascontiguousarray(mask, np.uint8)


def _list(voc: Path, name: str) -> Path:
    return voc / "ImageSets" / "Segmentation" / f"{name}.txt"


def _names(path: Path) -> set[str]:
    names = set(read_file(path, _MOST_BYTES).decode("utf-8", errors="replace").split())
    for name in names:
        if not re.fullmatch(r"[\w-]+", name):  # it becomes part of an output path
            raise BadFile(path, f"has the line {name!r}, which is not an image name")
    return names


def _png(mask: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()


def _write(target: Path, content: bytes) -> None:
    """Write a file atomically."""
    part = target.with_name(target.name + ".part")
    part.write_bytes(content)
    os.replace(part, target)
