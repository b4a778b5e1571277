"""A negative control: a classifier's weights with the values of each layer shuffled.

Every tensor keeps its shape and its values, and so its mean, spread and scale; everything learned
is lost. A benchmark in which it does as well as the original weights measures nothing.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import torch
from safetensors.torch import save

from backbones.common.atomic_write import write_atomically
from backbones.common.hashing import sha256
from backbones.common.resources import cache_dir
from backbones.weights import weights
from backbones.weights.safetensors_header import METADATA_KEY, read_own_metadata


def shuffled(path: Path, architecture: str) -> Path:
    """A file with the shuffled weights of another file; the order is always the same.

    Args:
        path: The classifier's file, as for :func:`backbones.weights.reading.read`.
        architecture: timm's name of its network.

    Returns:
        A safetensors file in the cache; its metadata name the source.

    Raises:
        UserError: The file has no weights of this network, or the cache cannot be written.
    """
    digest = sha256(path)
    made = cache_dir() / "weights" / "shuffled" / f"{digest}.safetensors"
    if made.is_file():
        return made
    checkpoint = weights.read(path, architecture)
    tensors = weights.of_network(architecture, checkpoint, str(path))
    own = read_own_metadata(path)
    metadata = {"architecture": architecture, "shuffled_from": digest}
    metadata |= {key: own[key] for key in ("mean", "std") if key in own}
    values = {name: _in_another_order(name, tensor) for name, tensor in tensors.items()}
    write_atomically(made, save(values, {METADATA_KEY: json.dumps(metadata)}), "$TRANSFER_CACHE")
    return made


def _in_another_order(name: str, tensor: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    order = torch.randperm(tensor.numel(), generator=generator)
    return tensor.flatten()[order].reshape(tensor.shape)
