"""Weights of classifiers: find them, read them without trusting them, and report what matched.

MMEngine's own initialiser loads with ``strict=False`` and only logs, so that a mismatch trains from
scratch in silence. Here every key is accounted for, and a backbone that is not whole is an error.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import timm
import torch
from torch import Tensor, nn

from backbones.common.errors import UserError
from backbones.common.resources import cache_dir
from backbones.common.torch_file import read_torch_file
from backbones.weights import key_maps, mxnet_params
from backbones.weights.download import fetch
from backbones.zoo.networks import require_known
from backbones.zoo.sources import weights_file

SCHEMES: dict[str, Callable[[str], Path]] = {}
"""Further ways to find weights: a scheme and what turns the rest of the name into a file."""


@dataclass(frozen=True)
class LoadReport:
    """What became of every key.

    Attributes:
        source: Where the weights came from.
        convention: Whose names the file uses: timm, mmseg, mmpretrain, gluoncv.
        matched: Backbone keys that were loaded.
        missing: Backbone keys that the file lacks.
        mismatched: Keys whose shapes differ, with both shapes.
        left_over: Keys of the file that the network has no place for.
        head: Keys of the classifier's head, which a backbone does not have.
        unused: Backbone keys that fit, of stages that this network was built without.
        prefix: What was taken off the file's names, such as ``model.``; empty for nothing.
    """

    source: str
    convention: str
    matched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    prefix: str = ""

    def by_stage(self) -> dict[str, dict[str, int]]:
        """Counts of matched, unused, missing and left-over keys per top-level module."""
        counts: dict[str, dict[str, int]] = {}
        for kind in ("matched", "unused", "missing", "mismatched", "left_over"):
            for key in getattr(self, kind):
                stage = counts.setdefault(key.split(".")[0], {})
                stage[kind] = stage.get(kind, 0) + 1
        return counts

    def lines(self) -> list[str]:
        """The report for people, a line a stage."""
        behind = f", behind '{self.prefix}'" if self.prefix else ""
        return [
            f"weights {self.source} ({self.convention} names{behind})",
            *(
                f"  {stage}: " + ", ".join(f"{n} {kind}" for kind, n in counts.items())
                for stage, counts in self.by_stage().items()
            ),
            f"  head, not used: {len(self.head)}",
        ]


@dataclass(frozen=True)
class Checkpoint:
    """A file's tensors under timm's names.

    Attributes:
        tensors: The state dict.
        convention: Whose names the file used.
        prefix: What was taken off them to find the network's parts; empty for nothing.
    """

    tensors: dict[str, Tensor]
    convention: str
    prefix: str = ""


def locate(source: str) -> Path:
    """The local file of some weights; fetched where it has to be.

    Args:
        source: A file, ``timm:<model>[.<tag>]``, an address, or a name under one of
            :data:`SCHEMES`.

    Raises:
        UserError: Not found, or not reachable; the sentence says which file to fetch and where to
            put it.
    """
    scheme, _, name = source.partition(":")
    if scheme in SCHEMES:
        return SCHEMES[scheme](name)
    if scheme == "timm":
        return _from_hub(name)
    if scheme in ("http", "https"):
        return _from_address(source)
    return weights_file(source)


def _from_address(url: str) -> Path:
    """Weights at an address, kept by it: many addresses end in 'model.safetensors'."""
    try:
        name = urlsplit(url).path.rpartition("/")[-1]
    except ValueError:  # what stands for the host cannot be one
        name = ""
    if name in ("", ".", ".."):
        raise UserError(f"The address '{url}' names no file of weights; give that of one.")
    place = cache_dir() / "weights" / hashlib.sha256(url.encode()).hexdigest()[:12]
    return fetch(url, place / name, checksum=_checksum_in(name))


def _checksum_in(name: str) -> str:
    """What a file's name says of its content: torch's and OpenMMLab's ``…-<sha256>.pth``.

    Digits without a letter are taken for a date or a count of steps; one checksum in forty looks
    so, and is then not checked. GluonCV's archives name the sha1 of the file inside; there zip's
    own checksums have to do.
    """
    found = re.search(r"-([0-9a-f]{8,64})\.(pth|pt|safetensors)$", name)
    return f"sha256:{found[1]}" if found and not found[1].isdecimal() else ""


def read(path: Path, architecture: str) -> Checkpoint:
    """Read a file of weights, executing nothing, and translate its keys into timm's.

    Args:
        path: ``.safetensors``, a torch file, or MXNet ``.params``, plain or zipped.
        architecture: timm's name of the network, which decides how the keys are read.

    Raises:
        UserError: The file is cut short, of no known format, holds code, or holds the network more
            than once.
    """
    renamed = key_maps.to_timm(_read_state(path), architecture)
    if not renamed.state:
        raise UserError(f"'{path}' holds no tensors; give a classifier's state dict.")
    prefix = _prefix(renamed, architecture)
    if prefix:
        renamed = key_maps.to_timm(key_maps.without_prefix(renamed.state, prefix), architecture)
    return Checkpoint(dict(renamed.state), renamed.convention, prefix)


def _read_state(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        return dict(_read_safetensors(path))
    if mxnet_params.is_mxnet_params(path):
        arrays = mxnet_params.read_params(path)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
    return _read_torch(path)


def _prefix(renamed: key_maps.Renamed, architecture: str) -> str:
    """What hides the network's parts in a file most of whose names are none; empty for nothing."""
    if renamed.convention != "unknown":
        return ""
    classifier = _on_meta(architecture)
    heads = _head_names(classifier)
    parts = {k for k in classifier.state_dict() if not k.startswith(heads) and not _optional(k)}
    if 2 * len(parts & renamed.state.keys()) > len(parts):
        return ""
    return key_maps.shared_prefix(renamed.state, parts)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"'{path}' is not a whole safetensors file ({error}); fetch or write it again."
        ) from error


def _read_torch(path: Path) -> dict[str, Any]:
    content = read_torch_file(path)
    if not isinstance(content, Mapping):
        raise UserError(f"'{path}' holds a {type(content).__name__}, not a state dict.")
    return dict(content)


def load_into_features(network: nn.Module, architecture: str, source: str) -> LoadReport:
    """Load a classifier's weights into its feature extractor.

    Args:
        network: timm's ``features_only`` network, or a part of the classifier under its own name.
        architecture: Its name.
        source: As :func:`locate`.

    Raises:
        UserError: The weights are not, or not wholly, those of this network.
    """
    checkpoint = read(locate(source), architecture)
    report = match(architecture, checkpoint, source)
    by_plain_name = {_plain(name): tensor for name, tensor in checkpoint.tensors.items()}
    state = network.state_dict()
    for name in state:
        if _plain(name) in by_plain_name:
            state[name] = by_plain_name[_plain(name)]
    network.load_state_dict(state)
    wanted = {_plain(name) for name in state}
    return dataclasses.replace(
        report,
        matched=tuple(key for key in report.matched if _plain(key) in wanted),
        unused=tuple(key for key in report.matched if _plain(key) not in wanted),
    )


def match(architecture: str, checkpoint: Checkpoint, source: str) -> LoadReport:
    """Account for every key of a checkpoint against a network.

    Raises:
        UserError: A key of the backbone is missing or of another shape, or the file has layers
            that this network does not have (another depth).
    """
    classifier = _on_meta(architecture)
    expected = classifier.state_dict()
    heads = _head_names(classifier)
    found = checkpoint.tensors
    matched, missing, mismatched = [], [], []
    for key, tensor in expected.items():
        if key.startswith(heads) or (key not in found and _optional(key)):
            continue
        if key not in found:
            missing.append(key)
        elif found[key].shape != tensor.shape:
            mismatched.append(f"{key} {tuple(found[key].shape)} for {tuple(tensor.shape)}")
        else:
            matched.append(key)
    report = LoadReport(
        source,
        checkpoint.convention,
        tuple(matched),
        tuple(missing),
        tuple(mismatched),
        tuple(k for k in found if k not in expected and not k.startswith(heads)),
        tuple(k for k in found if k.startswith(heads)),
        prefix=checkpoint.prefix,
    )
    _require_whole(report, architecture, {key.split(".")[0] for key in expected})
    return report


def _require_whole(report: LoadReport, architecture: str, modules: set[str]) -> None:
    foreign = [key for key in report.left_over if key.split(".")[0] in modules]
    faults = {
        "missing": report.missing,
        "of another shape": report.mismatched,
        "without a place": foreign,
    }
    if not any(faults.values()):
        return
    told = "; ".join(
        f"{len(keys)} {kind}, such as {keys[0]}" for kind, keys in faults.items() if keys
    )
    raise UserError(
        f"The weights '{report.source}' are not those of '{architecture}': "
        f"{len(report.matched)} keys match ({told}). Give the architecture that they were trained "
        "with, or other weights."
    )


def log_report(report: LoadReport) -> None:
    """Write the report to MMEngine's log."""
    from mmengine.logging import print_log

    print_log("\n".join(report.lines()), logger="current", level=logging.INFO)


def _on_meta(architecture: str) -> nn.Module:
    """A classifier whose tensors have shapes and take no memory.

    Raises:
        UserError: timm has no such network.
    """
    require_known(architecture)
    with torch.device("meta"):
        return timm.create_model(architecture)


def _optional(key: str) -> bool:
    """Whether weights are whole without a key: only batch norms that sum everything up read it."""
    return key.endswith("num_batches_tracked")


def _head_names(classifier: Any) -> tuple[str, ...]:
    names = (classifier.pretrained_cfg or {}).get("classifier") or ()
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def _plain(name: str) -> str:
    """A key without what timm's feature extractors change in it."""
    return name.removeprefix("model.").replace(".", "_")


def _from_hub(name: str) -> Path:
    """The hub of timm, through Hugging Face's own cache; ``<cache>/weights`` is looked at first."""
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # a network that timm has, under a tag that it has not
        config = None
    if config is None or not (config.hf_hub_id or config.url):
        raise UserError(f"timm publishes no weights under '{name}'; see timm.list_pretrained().")
    own = cache_dir() / "weights" / f"{config.architecture}.{config.tag}.safetensors"
    if own.is_file():
        return own
    if not config.hf_hub_id:
        url = str(config.url)
        return fetch(url, own.with_suffix(Path(url).suffix))
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            hf_hub_download(
                config.hf_hub_id,
                config.hf_hub_filename or "model.safetensors",
                etag_timeout=10,
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise UserError(
            f"The weights '{name}' could not be fetched from the hub ({type(error).__name__}). On "
            f"a machine with a connection fetch 'model.safetensors' of '{config.hf_hub_id}' and "
            f"put it at '{own}', or give a file with --weights."
        ) from error
