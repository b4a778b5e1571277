"""ImageFolder data sets: reads, checks and optionally caches images in class folders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.registry import DATASETS
from torch import Tensor

from backbones.common.errors import UserError
from backbones.common.image_file import header, loaded, read_content
from backbones.common.regular_file import UnfitFile, is_hidden
from backbones.training.augmentation import MIN_AREA, centre_crop, colour_matrix, random_crop

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
SPLITS = ("train", "val")


@DATASETS.register_module()
class ImageFolder:
    """A split of an ImageFolder, with the paper's augmentation or a centre crop.

    Args:
        root: Folder with ``train/<class>/<image>`` and ``val/<class>/<image>``.
        split: ``"train"`` or ``"val"``.
        size: Side of the crops in pixels.
        authors_code: Colour jitter of the authors' code instead of the paper's, and bilinear
            shrinking.
        cache: Decode every image once and keep it in memory.
        min_area: Smallest share of an image that a training crop covers.

    Raises:
        UserError: A folder is missing or empty, or an image cannot be read.
    """

    def __init__(
        self,
        root: str,
        split: str,
        size: int,
        *,
        authors_code: bool = False,
        cache: bool = False,
        min_area: float = MIN_AREA,
    ) -> None:
        self.folder = Path(root) / split
        self.split, self.size, self.authors_code = split, size, authors_code
        self.min_area = min_area
        self.classes = class_names(Path(root))
        self.samples = [
            (path, label)
            for label, name in enumerate(self.classes)
            for path in _images(self.folder / name)
        ]
        self.decoded = [_decode(path) for path, _ in self.samples] if cache else None
        self.metainfo = {"classes": self.classes}

    def __deepcopy__(self, memo: dict[int, object]) -> ImageFolder:
        """Return itself: a runner copies its loader configs and would hold all images twice."""
        return self

    def full_init(self) -> None:
        """Do nothing; everything is loaded."""

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int, np.ndarray]:
        path, label = self.samples[index]
        image = self.decoded[index] if self.decoded else _decode(path)
        if self.split != "train":
            crop = centre_crop(image, self.size, self.authors_code)
            return crop, label, np.zeros((3, 4), np.float32)
        # NumPy's global generator is seeded for this image and epoch; see ReplayableDataset.
        generator = np.random.Generator(np.random.PCG64(np.random.randint(1 << 31)))
        crop = random_crop(
            image, self.size, generator, min_area=self.min_area, bilinear=self.authors_code
        )
        return crop, label, colour_matrix(generator, self.authors_code)

    def fingerprint(self) -> str:
        """Hash of the names and sizes of all images, 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for path, _ in self.samples:
            name = path.relative_to(self.folder).as_posix()
            digest.update(f"{name} {path.stat().st_size}\n".encode())
        return digest.hexdigest()[:16]


def class_names(root: Path) -> list[str]:
    """Class names, which must be the same in both splits.

    Raises:
        UserError: Folders are missing, the splits differ, or there are fewer than two classes.
    """
    found = []
    for split in SPLITS:
        folder = root / split
        if not folder.is_dir():
            raise UserError(
                f"'{root}' has no folder '{split}': expected train/<class>/<image> and "
                "val/<class>/<image>, as in torchvision's ImageFolder."
            )
        classes = (entry for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry))
        found.append({entry.name for entry in classes})
    odd = sorted(found[0] ^ found[1])
    if odd or not found[0]:
        raise UserError(
            f"'{root}' must have the same classes in train and val; "
            + (f"only one of them has {', '.join(odd[:5])}." if odd else "it has none.")
        )
    if len(found[0]) == 1:
        raise UserError(
            f"'{root}' has the class '{found[0].pop()}' only; a classifier needs two or more to "
            "tell apart."
        )
    return sorted(found[0])


def collate(batch: Sequence[tuple[np.ndarray, int, np.ndarray]]) -> dict[str, Tensor]:
    """A batch: images (B, H, W, 3) uint8, labels (B,), colour matrices (B, 3, 4)."""
    images, labels, matrices = zip(*batch, strict=True)
    return {
        "images": torch.from_numpy(np.stack(images)),
        "labels": torch.tensor(labels),
        "matrices": torch.from_numpy(np.stack(matrices)),
    }


def _images(folder: Path) -> list[Path]:
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not is_hidden(p))
    if not paths:
        raise UserError(
            f"The class folder '{folder}' contains no image ({', '.join(sorted(SUFFIXES))}); add "
            "some or remove the class from both splits."
        )
    return paths


def _decode(path: Path) -> np.ndarray:
    """An image as (H, W, 3) uint8 RGB; any mode of 8 bits that PIL reads is converted."""
    try:
        image = header(path, read_content(path))
        deep = ";16" in str([tile[3] for tile in image.tile])  # of colours: their mode is RGB
        if image.mode.startswith(("I", "F")) or deep:  # Pillow would clip values above 255
            raise UnfitFile(path, f"has more than 8 bits a channel (mode {image.mode})")
        return np.asarray(loaded(path, image).convert("RGB"))
    except OSError as error:
        raise UserError(f"The image '{path}' cannot be read ({error.strerror}).") from error
    except UnfitFile as error:  # a loader worker cannot pickle it
        raise UserError(
            f"The image '{path.absolute()}' {error.reason}; replace or remove it."
        ) from error


cv2.setNumThreads(0)  # crops are small, and loader workers would compete for cores
