"""Reads untrusted files of weights as one state dict under timm's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backbones.common.errors import UserError
from backbones.common.regular_file import open_regular
from backbones.common.torch_file import read_torch_file
from backbones.weights import key_maps, mxnet_params, other_names
from backbones.weights.blueprint import Blueprint, blueprint, is_counter
from backbones.weights.safetensors_header import header_length
from backbones.weights.soundness import are_equal, is_count
from backbones.weights.tables import Table, flattened, tables
from backbones.zoo.entry import BY_SHAPE, Rename


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A file's tensors under timm's names.

    Attributes:
        tensors: The state dict.
        convention: The origin of the file's names, or how they were translated.
        table: Location of the state dict in the file, such as ``model_state_dict``; empty for the
            top level.
        prefix: The prefix that was removed from the names; may be empty.
        copies: Other prefixes with the same tensors.
    """

    tensors: dict[str, Tensor]
    convention: str
    _: KW_ONLY
    table: str = ""
    prefix: str = ""
    copies: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Location of the network in the file; empty for the top level."""
        return ", ".join(
            [
                *([f"in '{self.table}'"] if self.table else []),
                *([f"behind '{self.prefix}'"] if self.prefix else []),
                *(f"the same as '{copy}'" for copy in self.copies),
            ]
        )


def read(path: Path, architecture: str, rename: Rename = "") -> Checkpoint:
    """Read a file of weights, without executing code, and translate its names into timm's.

    Args:
        path: ``.safetensors``, a torch file, or MXNet ``.params``, plain or zipped.
        architecture: timm's name of the network, which decides how names are translated.
        rename: How to translate names that belong to no library.

    Raises:
        UserError: The file is truncated, has an unknown format, or contains code or no tensors; it
            contains the network in several tables, or behind several prefixes with different
            values; it has another layout than timm's; or it cannot be renamed as requested.
    """
    found = tables(read_saved(path, path.suffix))
    if not found:
        raise UserError(
            f"'{path}' contains no tensors at any level; give a classifier's state dict."
        )
    plan = blueprint(architecture)
    large = {place: table for place, table in found.items() if 2 * len(table) > len(plan.parts)}
    held, fault = _held(large, plan, rename)
    if not held and len(found) > 1:  # for example a state dict that is nested by modules
        held, _ = _held({"": flattened(found)}, plan, rename)
    if held:
        return _only_one(held, path)
    if any(key_maps.is_openai_clip(table) for table in found.values()):
        raise UserError(
            f"'{path}' has the layout of OpenAI's CLIP, but only timm's is read. Convert the state "
            "dict once and save it: timm.models.vision_transformer.checkpoint_filter_fn(state_dict,"
            " timm.create_model(architecture)), with names that begin with 'visual.'. timm's names "
            "of OpenAI's own networks contain 'clip_quickgelu'."
        )
    if fault:
        raise fault
    place, table = max(found.items(), key=lambda item: len(item[1]))
    return _translated(place, table, plan, rename)


def _held(
    found: Mapping[str, Table], plan: Blueprint, rename: Rename
) -> tuple[list[Checkpoint], UserError | None]:
    """The tables that contain most of a network, and the fault of the first other one."""
    held, fault = [], None
    for place, table in found.items():
        try:
            checkpoint = _translated(place, table, plan, rename)
        except UserError as error:
            if not rename:
                raise
            fault = fault or error
            continue
        if plan.is_held_by(checkpoint.tensors):
            held.append(checkpoint)
    return held, fault


def _only_one(held: list[Checkpoint], path: Path) -> Checkpoint:
    """The state dict of a file that has one.

    Raises:
        UserError: It has several. Even where their values are equal, such as those of a student and
            a teacher before training, only the user knows which one is meant.
    """
    if len(held) > 1:
        names = " and ".join(f"'{one.table}'" for one in held)
        raise UserError(
            f"'{path}' contains the network {len(held)} times, in {names}: save the one whose "
            "top-1 was measured in a file of its own "
            f"(torch.save({_expression(held[-1].table)}, …) or similar) and give that file."
        )
    return held[0]


def _expression(place: str) -> str:
    return "checkpoint" + "".join(f"[{segment!r}]" for segment in place.split("."))


def _differ(one: Mapping[str, Any], other: Mapping[str, Any], plan: Blueprint) -> bool:
    """Whether two state dicts differ in a tensor of a network."""
    shared = [name for name in plan.shapes if name in one and name in other]
    return not all(
        tuple(one[name].shape) == shape == tuple(other[name].shape)
        and are_equal(one[name], other[name])
        for name in shared
        if not is_counter(name)
        for shape in [plan.shapes[name]]
    )


def _translated(place: str, table: Table, plan: Blueprint, rename: Rename) -> Checkpoint:
    """A table under timm's names, without malformed counters."""
    if rename == BY_SHAPE:
        state = key_maps.without_torchs_prefixes(table)
        names, why = other_names.by_shape(state, plan)
        if why:
            raise UserError(
                f"The weights cannot be given the names of '{plan.architecture}' by order and "
                f"shape: {why}. Write a table 'rename' in place of '{BY_SHAPE}' if only the order "
                "differs; if shapes differ, save the weights in timm's layout first."
            )
        tensors = {names.get(name, name): tensor for name, tensor in state.items()}
        return Checkpoint(_without_odd_counters(tensors), "other", table=place)
    if rename:
        assert not isinstance(rename, str)
        table = other_names.by_table(key_maps.without_torchs_prefixes(table), rename)
    renamed = key_maps.to_timm(table, plan.architecture)
    state, prefix, copies = _one_network(renamed.state, plan)
    if prefix:
        renamed = key_maps.to_timm(key_maps.without_prefix(state, prefix), plan.architecture)
        state = renamed.state
    return Checkpoint(
        _without_odd_counters(state),
        "other" if rename else renamed.convention,
        table=place,
        prefix=prefix,
        copies=copies,
    )


def _one_network(
    state: dict[str, Any], plan: Blueprint
) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """A state dict with the network once, its prefix, and the prefixes of removed copies.

    A module with two names is saved under both.

    Raises:
        UserError: It contains the network several times, with different values.
    """
    views = {"": state} if plan.is_held_by(state) else {}
    for prefix in key_maps.prefixes(state, plan.parts):
        views[prefix] = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    if not views:
        return state, "", ()
    most = max(views, key=lambda prefix: len(plan.shapes.keys() & views[prefix].keys()))
    others = tuple(prefix for prefix in views if prefix != most)
    for other in others:
        if _differ(views[most], views[other], plan):
            first, second = [prefix or "no prefix" for prefix in views if prefix in (most, other)]
            raise UserError(
                f"The weights contain the network twice, under {first!r} and {second!r}, with "
                "different values: save the one whose top-1 was measured in its own file and "
                "give that."
            )
    dropped = {
        name
        for name in state
        if any(
            name.startswith(other) if other else name in plan.shapes
            for other in others
            if not (most and name.startswith(most))
        )
    }
    return {k: v for k, v in state.items() if k not in dropped}, most, others


def _without_odd_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if not is_counter(k) or is_count(v)}


def read_saved(path: Path, suffix: str) -> Any:
    """The content of a file of weights.

    Args:
        path: The file.
        suffix: The suffix of its name, which distinguishes ``.safetensors``.

    Raises:
        UserError: The file is truncated, has an unknown format, or contains code.
    """
    if suffix == ".safetensors":
        return _read_safetensors(path)
    if mxnet_params.is_mxnet_params(path):
        arrays = mxnet_params.read_params(path)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
    content = read_torch_file(path)
    if not isinstance(content, Mapping | list | tuple):
        raise UserError(f"'{path}' contains a {type(content).__name__}, not a state dict.")
    return content


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with open_regular(path) as opened:
            header_length(path, opened)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"'{path}' is not a complete safetensors file ({error}); download or write it again."
        ) from error
