"""Writes weights with other names under timm's names: by a table, or by order and shape.

Shapes do not show that two tensors of the same shape changed places. If the logits of the network
in its own library are known for an image, the renamed weights must reproduce them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from backbones.common.atomic_write import write_atomically
from backbones.common.errors import UserError
from backbones.common.hashing import sha256
from backbones.common.resources import cache_dir
from backbones.weights import weights
from backbones.weights.reading import read_saved
from backbones.weights.safetensors_header import METADATA_KEY
from backbones.weights.soundness import is_stored
from backbones.weights.tables import tables
from backbones.weights.with_head import with_head
from backbones.zoo.entry import Rename

_TOLERANCE = 1e-3  # of the logits' spread; another summation order changes 1e-6 of it
_MAX_PIXELS = 1 << 20  # of a reference's images together: 20 of 224 × 224


def renamed(path: Path, architecture: str, rename: Rename, reference: str = "") -> Path:
    """A file with the renamed weights of another file, written once and kept in the cache.

    Args:
        path: The classifier's file, as for :func:`backbones.weights.reading.read`.
        architecture: timm's name of its network.
        rename: How to translate its names.
        reference: A file with ``image``, (B, 3, H, W), the network's input, and the ``logits``, (B,
            classes), of the same weights in their own library; empty for none.

    Returns:
        A safetensors file.

    Raises:
        UserError: The names cannot be translated, the logits differ, or the cache cannot be
            written.
    """
    compared = sha256(Path(reference)) if reference else ""
    key = json.dumps([sha256(path), architecture, rename, compared])
    digest = hashlib.sha256(key.encode()).hexdigest()
    made = cache_dir() / "weights" / "renamed" / f"{digest}.safetensors"
    if made.is_file():
        return made
    checkpoint = weights.read(path, architecture, rename)
    kept = weights.of_network(architecture, checkpoint, str(path))
    if reference:
        _require_logits(kept, architecture, Path(reference), path)
    metadata = {METADATA_KEY: json.dumps({"renamed_from": sha256(path)})}
    values = {name: tensor.clone().contiguous() for name, tensor in kept.items()}
    write_atomically(made, save(values, metadata), "$TRANSFER_CACHE")
    return made


def _require_logits(
    kept: dict[str, Tensor], architecture: str, reference: Path, path: Path
) -> None:
    """Compare the logits of the renamed weights with those of their own library."""
    image, logits = _reference(reference)
    network = with_head(
        architecture,
        kept,
        str(path),
        classes=logits.shape[1],
        otherwise=f"The logits in '{reference}' can be compared only with those of a classifier "
        "with its head: give one, or remove 'reference'.",
    ).eval()
    try:
        with torch.inference_mode():
            found = network(image)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(
            f"'{architecture}' does not accept the image in '{reference}': {error}."
        ) from error
    apart, spread = float((found - logits).abs().max()), float(logits.std()) or 1.0
    if not apart <= _TOLERANCE * spread:
        raise UserError(
            f"The weights '{path}', renamed, do not compute the same: for the image in "
            f"'{reference}' the logits of '{architecture}' are up to {apart:.3g} apart from those "
            f"given there, whose spread is {spread:.3g}. Correct 'rename', or check that the image "
            "is the network's input."
        )


def _reference(path: Path) -> tuple[Tensor, Tensor]:
    found = tables(read_saved(path, path.suffix)).get("", {})
    image, logits = found.get("image"), found.get("logits")
    if image is None or logits is None or not (is_stored(image) and is_stored(logits)):
        raise UserError(f"'{path}' must hold the tensors 'image' and 'logits', with their values.")
    if image.ndim != 4 or logits.ndim != 2 or len(image) != len(logits) or logits.numel() < 2:
        raise UserError(
            f"In '{path}' 'image' must have the shape (B, 3, height, width) and 'logits' (B, "
            f"classes); they have {tuple(image.shape)} and {tuple(logits.shape)}."
        )
    if (pixels := image.numel() // max(image.shape[1], 1)) > _MAX_PIXELS:
        raise UserError(
            f"The images in '{path}' have {pixels:,} pixels together; at most {_MAX_PIXELS:,} "
            "are compared. Give one image of the classifier's own size."
        )
    return image.float(), logits.float()
