"""Weights of classifiers: finds and loads them, and reports what matched.

MMEngine's own initialiser loads with ``strict=False`` and only logs, so a mismatch silently trains
from random weights. Here every key is accounted for, and an incomplete backbone is an error.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from timm.layers import resample_patch_embed
from torch import Tensor, nn

from backbones.common.errors import UserError
from backbones.tricks.zero_gamma import set_last_gamma
from backbones.weights import other_names, other_sizes
from backbones.weights.blueprint import Blueprint, blueprint, is_counter
from backbones.weights.hub import from_address, from_hub, from_package
from backbones.weights.load_report import LoadReport, is_computed, log_report
from backbones.weights.reading import Checkpoint, read
from backbones.weights.soundness import is_stored, require_sound
from backbones.zoo.entry import BY_SHAPE
from backbones.zoo.sources import RANDOM_GAMMA_ONE, is_random, weights_file

_TOKENS = ("dist_token", "reg_token", "register_tokens", "storage_tokens")
"""Names of further tokens of a ViT in any library; whoever has them is another network."""

SCHEMES: dict[str, Callable[[str], Path]] = {}
"""Further sources of weights: a scheme and a function from the rest of the name to a file."""


def locate(source: str) -> Path:
    """The local file of some weights, downloaded if necessary.

    Args:
        source: A file, ``timm:<model>[.<tag>]``, ``package:<module>/<path>``, an address, or a
            name under one of :data:`SCHEMES`.

    Raises:
        UserError: Not found, or unreachable; the message says which file to download and where to
            put it.
    """
    scheme, _, name = source.partition(":")
    if scheme in SCHEMES:
        return SCHEMES[scheme](name)
    if scheme == "timm":
        return from_hub(name)
    if scheme == "package":
        return from_package(name)
    if scheme in ("http", "https"):
        return from_address(source)
    return weights_file(source)


def initialise(network: nn.Module, architecture: str, source: str | None) -> None:
    """Load a classifier's weights and log what matched, or set how random ones start.

    Args:
        network: As for :func:`load_into_features`.
        architecture: Its name.
        source: As for :func:`locate`, or a source of random weights.

    Raises:
        UserError: A mismatch is an error, never a warning.
    """
    if source == RANDOM_GAMMA_ONE:
        set_last_gamma(network, 1.0)
    elif source and not is_random(source):
        log_report(load_into_features(network, architecture, source))


def load_into_features(network: nn.Module, architecture: str, source: str) -> LoadReport:
    """Load a classifier's weights into its feature extractor.

    Args:
        network: timm's ``features_only`` network, or a part of the classifier under its own name.
        architecture: Its name.
        source: As for :func:`locate`.

    Raises:
        UserError: The weights do not belong to this network or are incomplete.
    """
    checkpoint = read(locate(source), architecture)
    report = match(architecture, checkpoint, source)
    by_plain_name = {plain_name(name): tensor for name, tensor in checkpoint.tensors.items()}
    state = network.state_dict()
    for name, own in state.items():
        if plain_name(name) in by_plain_name:
            state[name] = _of_size(by_plain_name[plain_name(name)], own)
    network.load_state_dict(state)
    wanted = {plain_name(name) for name in state}
    return dataclasses.replace(
        report,
        matched=tuple(key for key in report.matched if plain_name(key) in wanted),
        unused=tuple(key for key in report.matched if plain_name(key) not in wanted),
    )


def match(architecture: str, checkpoint: Checkpoint, source: str) -> LoadReport:
    """Match every key of a checkpoint with a network, and check its values.

    Raises:
        UserError: A key of the backbone is missing or has another shape, the file has layers that
            this network lacks (another depth), or it has values that no network can use.
    """
    plan = blueprint(architecture)
    found = checkpoint.tensors
    matched, missing, mismatched = [], [], []
    for key, shape in plan.shapes.items():
        if _is_of_head(key, plan) or (key not in found and is_counter(key)):
            continue
        if key not in found:
            missing.append(key)
        elif tuple(found[key].shape) != shape:
            mismatched.append(f"{key} {tuple(found[key].shape)} for {shape}")
        else:
            matched.append(key)
    report = LoadReport(
        source,
        checkpoint.convention,
        matched=tuple(matched),
        missing=tuple(missing),
        mismatched=tuple(mismatched),
        left_over=tuple(k for k in found if k not in plan.shapes and not _is_of_head(k, plan)),
        head=tuple(k for k in found if _is_of_head(k, plan)),
        place=checkpoint.place,
    )
    _require_complete(report, checkpoint, plan)
    require_sound({key: found[key] for key in matched if not is_counter(key)}, source)
    return report


def of_network(architecture: str, checkpoint: Checkpoint, source: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint that belong to its network, including heads.

    Raises:
        UserError: As for :func:`match`.
    """
    report = match(architecture, checkpoint, source)
    heads = [key for key in report.head if is_stored(checkpoint.tensors[key])]
    return {key: checkpoint.tensors[key] for key in (*report.matched, *heads)}


def _is_of_head(key: str, plan: Blueprint) -> bool:
    return key.startswith(plan.heads)


def _require_complete(report: LoadReport, checkpoint: Checkpoint, plan: Blueprint) -> None:
    own = plan.tops.union(_TOKENS)
    foreign = [key for key in report.left_over if key.split(".")[0] in own and not is_computed(key)]
    faults = {
        "missing": report.missing,
        "of another shape": report.mismatched,
        "without a place": foreign,
    }
    if not any(faults.values()):
        return
    found = "; ".join(
        f"{len(keys)} {kind}, such as {keys[0]}" for kind, keys in faults.items() if keys
    )
    if not plan.is_held_by(report.matched) and other_names.by_shape(checkpoint.tensors, plan)[0]:
        raise UserError(
            f"The weights '{report.source}' have the shapes of '{plan.architecture}' but other "
            f"names: {len(report.matched)} keys match ({found}). If they belong to this network, "
            f'write rename = "{BY_SHAPE}" in the row\'s own file (.toml); they '
            "are then matched by their order."
        )
    of_another_size = ""
    if not report.missing and not foreign:
        mismatched = [each.split()[0] for each in report.mismatched]
        of_another_size = other_sizes.way_out(mismatched, checkpoint.tensors, plan)
    raise UserError(
        f"The weights '{report.source}' are not those of '{plan.architecture}': "
        f"{len(report.matched)} keys match ({found}). "
        + (
            of_another_size
            or "Give the architecture that they were trained with, or other weights; if only their "
            "names differ, a table 'rename' in the row's own file (.toml) translates them."
        )
    )


def _of_size(tensor: Tensor, own: Tensor) -> Tensor:
    """A tensor for a network that is built with other patches than its classifier was."""
    if tensor.shape == own.shape:
        return tensor
    return resample_patch_embed(tensor, list(own.shape[2:]))


def plain_name(name: str) -> str:
    """A key without the changes of timm's feature extractors."""
    return name.removeprefix("model.").replace(".", "_")
