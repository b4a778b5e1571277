"""Public weights: on timm's hub or at an address, downloaded once; or in a package."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from urllib.parse import urlsplit

import timm
from timm.models import PretrainedCfg

from backbones.common.errors import UserError
from backbones.common.resources import cache_dir
from backbones.weights.download import fetch, verify
from backbones.weights.reading import read_saved
from backbones.zoo.sources import file_in_package

HUB_SECONDS = 4.0
"""Maximum wait for the hub's first response, in seconds."""


def published(name: str) -> PretrainedCfg:
    """What timm knows of weights that it publishes; asks no server.

    Args:
        name: ``<model>[.<tag>]``.

    Raises:
        UserError: There are none of this name.
    """
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # a known network with an unknown tag
        config = None
    if config is None or not (config.hf_hub_id or config.url):
        raise UserError(f"timm publishes no weights under '{name}'; see timm.list_pretrained().")
    return config


def from_hub(name: str) -> Path:
    """Weights that timm publishes: from the project's cache, Hugging Face's cache, or the hub.

    Args:
        name: ``<model>[.<tag>]``.

    Raises:
        UserError: There are none of this name, or the hub is unreachable; the message says which
            file to download and where to put it.
    """
    config = published(name)
    own = cache_dir() / "weights" / f"{config.architecture}.{config.tag}.safetensors"
    if own.is_file():
        return own
    if not config.hf_hub_id:
        url = str(config.url)
        return _fetched(url, own.with_suffix(Path(url).suffix))
    from huggingface_hub import constants, hf_hub_url, try_to_load_from_cache

    file = config.hf_hub_filename or "model.safetensors"
    if isinstance(cached := try_to_load_from_cache(config.hf_hub_id, file), str):
        return Path(cached)
    place = own.with_suffix(Path(file).suffix)
    if constants.HF_HUB_OFFLINE:
        raise UserError(
            f"The weights '{name}' are not in a cache, and HF_HUB_OFFLINE forbids downloads: get "
            f"'{file}' of '{config.hf_hub_id}' elsewhere and put it at '{place}', or give a "
            "file with --weights."
        )
    if place.is_file():
        return place
    try:
        return _fetched(hf_hub_url(config.hf_hub_id, file), place, patience=HUB_SECONDS)
    except UserError as error:
        raise UserError(
            f"The weights '{name}' could not be downloaded from the hub: {error} Or give a file "
            "with --weights."
        ) from error


def from_address(url: str) -> Path:
    """Weights at an address, cached by the address: many end in 'model.safetensors'.

    Raises:
        UserError: It names no file, is unreachable, or does not send weights.
    """
    try:
        name = urlsplit(url).path.rpartition("/")[-1]
    except ValueError:  # the host is malformed
        name = ""
    if name in ("", ".", ".."):
        raise UserError(f"The address '{url}' names no file of weights; give a file's address.")
    place = cache_dir() / "weights" / hashlib.sha256(url.encode()).hexdigest()[:12]
    return _fetched(url, place / name, checksum=_checksum_in(name))


def from_package(name: str) -> Path:
    """Weights inside an installed package, checked against the checksum in their file's name.

    Args:
        name: As :func:`backbones.zoo.sources.file_in_package`.

    Raises:
        UserError: There are none, or they are not the published ones.
    """
    path = file_in_package(name)
    try:
        verify(path, _checksum_in(path.name))
    except UserError as error:
        raise UserError(f"{error} To get it again, install its package again.") from error
    return path


def _fetched(url: str, place: Path, checksum: str = "", patience: float | None = None) -> Path:
    def require_weights(part: Path) -> None:
        try:
            read_saved(part, place.suffix)
        except UserError as error:
            raise UserError(f"'{url}' did not send weights: {error}") from error

    return fetch(url, place, checksum=checksum, patience=patience, check=require_weights)


def _checksum_in(name: str) -> str:
    """The checksum in a file's name: torch's and OpenMMLab's ``…-<sha256>.pth``.

    Digits without a letter count as a date or a number of steps, so one checksum in forty is not
    checked. The names of GluonCV's archives have the sha1 of the file inside; those rely on zip's
    own checksums.
    """
    found = re.search(r"-([0-9a-f]{8,64})\.(pth|pt|safetensors)$", name)
    return f"sha256:{found[1]}" if found and not found[1].isdecimal() else ""
