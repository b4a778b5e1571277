"""Top-1 of a classifier with its head, on the validation images of an ImageFolder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from scipy.stats import binomtest
from timm.data import ImageNetInfo
from torch.utils.data import DataLoader

from backbones.common.errors import UserError
from backbones.training.image_folder import ImageFolder, collate
from backbones.weights import weights
from backbones.weights.preprocessing import preprocessing, require_agreement
from backbones.weights.renamed import renamed
from backbones.weights.safetensors_header import read_own_metadata
from backbones.weights.with_head import with_head
from backbones.zoo.entry import IMAGENET_MEAN, IMAGENET_STD, PerChannel, Variant


@dataclass(frozen=True, kw_only=True)
class Top1:
    """A measured top-1.

    Attributes:
        hits: Number of images whose label is the best of the folder's classes.
        images: Number of images.
        classes: Number of the folder's classes.
        of_head: Number of classes that the head knows.
    """

    hits: int
    images: int
    classes: int
    of_head: int

    @property
    def percent(self) -> float:
        """Top-1 in percent."""
        return 100 * self.hits / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval in percent, over images (Wilson 1927)."""
        found = binomtest(self.hits, self.images).proportion_ci(0.95, method="wilson")
        return 100 * found.low, 100 * found.high


def measure(
    row: Variant,
    source: str,
    data: Path,
    *,
    size: int = 224,
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Top1:
    """Evaluate a classifier on centre crops.

    A head with more classes than the folder is restricted to the folder's.

    Args:
        row: The classifier's row.
        source: Its weights, as for :func:`backbones.weights.weights.locate`.
        data: Folder with ``train/<class>/<image>`` and ``val/<class>/<image>``.
        size: Side of the crops in pixels; images are resized to 256 / 224 of it.
        batch_size: Images per batch.
        progress: Notified of the evaluated images and of all.

    Raises:
        UserError: The weights have no head, belong to another network, do not reproduce the row's
            reference or contradict its preprocessing; an image or a folder is unusable; or no class
            of the head belongs to a folder.
    """
    path = weights.locate(source)
    if row.rename:
        path = renamed(path, row.architecture, row.rename, row.reference)
    own = read_own_metadata(path)
    require_agreement(row, own, source)
    checkpoint = weights.read(path, row.architecture)
    tensors = weights.of_network(row.architecture, checkpoint, source)
    network = with_head(
        row.architecture, tensors, source, otherwise="Give weights that include it."
    )
    of_head = cast("int", network.num_classes)
    given_mean, given_std = _stated(row, source)
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in preprocessing(
            own,
            mean=given_mean,
            std=given_std,
            sources=[source, row.weights.source if row.weights else ""],
            architecture=row.architecture,
        )
    )
    folder = ImageFolder(str(data), "val", size)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device).eval()
    columns = torch.tensor(_columns(folder.classes, of_head, own), device=device)
    hits = 0
    images: Any = folder  # torch's loader takes anything with a length and items
    loader: DataLoader[Any] = DataLoader(images, batch_size=batch_size, collate_fn=collate)
    for number, batch in enumerate(loader, 1):
        normalised = (batch["images"].permute(0, 3, 1, 2).float() - mean) / std
        with torch.inference_mode():
            best = network(normalised.to(device))[:, columns].argmax(1)
        hits += int((best.cpu() == batch["labels"]).sum())
        if progress:
            progress(min(number * batch_size, len(folder)), len(folder))
    return Top1(hits=hits, images=len(folder), classes=len(folder.classes), of_head=of_head)


def _stated(row: Variant, source: str) -> tuple[PerChannel | None, PerChannel | None]:
    """Mean and deviation as a fine-tuning takes them from the row; None for timm's values."""
    if source.startswith("timm:"):
        return (row.mean, row.std) if row.own else (None, None)
    if row.own:
        return row.mean or IMAGENET_MEAN, row.std or IMAGENET_STD
    return row.mean, row.std


def _columns(classes: list[str], of_head: int, own: dict[str, Any]) -> list[int]:
    """The head's outputs for the folder's classes.

    Raises:
        UserError: They are unknown.
    """
    names = own.get("classes") or (ImageNetInfo().label_names() if of_head == 1000 else [])
    place = {name: index for index, name in enumerate(names)}
    if all(name in place for name in classes):
        return [place[name] for name in classes]
    if of_head == len(classes):
        return list(range(of_head))
    known = [name for name in classes if name in place]
    raise UserError(
        f"The head knows {of_head} classes; {len(known)} of the {len(classes)} class folders are "
        f"among them, '{next(name for name in classes if name not in place)}' is not. Folders of "
        "ImageNet's classes have WordNet ids as names, such as 'n01443537'."
    )
