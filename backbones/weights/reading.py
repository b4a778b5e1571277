"""Files of weights, read without trusting them, as one state dict under timm's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backbones.common.errors import UserError
from backbones.common.torch_file import read_torch_file
from backbones.weights import key_maps, mxnet_params, other_names
from backbones.weights.blueprint import Blueprint, blueprint, is_counter
from backbones.weights.soundness import are_equal, is_count
from backbones.weights.tables import Table, flattened, tables
from backbones.zoo.entry import BY_SHAPE, Rename


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A file's tensors under timm's names.

    Attributes:
        tensors: The state dict.
        convention: Whose names the file used, or how they were translated.
        table: Where in the file the state dict is, such as ``model_state_dict``; empty for on top.
        prefix: What was taken off the names to find the network's parts; empty for nothing.
        copies: Further tables and prefixes under which the same tensors are.
    """

    tensors: dict[str, Tensor]
    convention: str
    table: str = ""
    prefix: str = ""
    copies: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where in the file the network is; empty for on top."""
        return ", ".join(
            [
                *([f"in '{self.table}'"] if self.table else []),
                *([f"behind '{self.prefix}'"] if self.prefix else []),
                *(f"the same as '{copy}'" for copy in self.copies),
            ]
        )


def read(path: Path, architecture: str, rename: Rename = "") -> Checkpoint:
    """Read a file of weights, executing nothing, and translate its names into timm's.

    Args:
        path: ``.safetensors``, a torch file, or MXNet ``.params``, plain or zipped.
        architecture: timm's name of the network, which decides how the names are read.
        rename: How names that no library has become timm's.

    Raises:
        UserError: The file is cut short, of no known format, holds code or no tensors; it holds the
            network several times, with different values; or it cannot be renamed as asked.
    """
    found = tables(read_saved(path, path.suffix))
    if not found:
        raise UserError(f"'{path}' holds no tensors at any level; give a classifier's state dict.")
    plan = blueprint(architecture)
    large = {place: table for place, table in found.items() if 2 * len(table) > len(plan.parts)}
    held, fault = _held(large, plan, rename)
    if not held and len(found) > 1:  # as where a state dict is nested by modules
        held, _ = _held({"": flattened(found)}, plan, rename)
    if held:
        return _only_one(held, plan, path)
    if fault:
        raise fault
    place, table = max(found.items(), key=lambda item: len(item[1]))
    return _translated(place, table, plan, rename)


def _held(
    found: Mapping[str, Table], plan: Blueprint, rename: Rename
) -> tuple[list[Checkpoint], UserError | None]:
    """The tables that hold most of a network, and what kept the first other one from it."""
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


def _only_one(held: list[Checkpoint], plan: Blueprint, path: Path) -> Checkpoint:
    """The most complete of several state dicts that are the same.

    Raises:
        UserError: They differ: which one is meant is no guess to make.
    """
    most = max(held, key=lambda one: len(plan.shapes.keys() & one.tensors.keys()))
    others = [one for one in held if one is not most]
    for other in others:
        if _differ(most.tensors, other.tensors, plan):
            first, second = [one.table for one in held if one in (most, other)]
            raise UserError(
                f"'{path}' holds the network twice, in '{first}' and '{second}', with other "
                "values: save the one that the top-1 was measured with in a file of its own "
                f"(torch.save({_expression(second)}, …) or likewise) and give that."
            )
    copies = (*most.copies, *(other.table for other in others))
    return Checkpoint(most.tensors, most.convention, most.table, most.prefix, copies)


def _expression(place: str) -> str:
    return "checkpoint" + "".join(f"[{segment!r}]" for segment in place.split("."))


def _differ(one: Mapping[str, Any], other: Mapping[str, Any], plan: Blueprint) -> bool:
    """Whether two state dicts have another tensor somewhere in a network."""
    shared = [name for name in plan.shapes if name in one and name in other]
    return not all(
        tuple(one[name].shape) == shape == tuple(other[name].shape)
        and are_equal(one[name], other[name])
        for name in shared
        if not is_counter(name)
        for shape in [plan.shapes[name]]
    )


def _translated(place: str, table: Table, plan: Blueprint, rename: Rename) -> Checkpoint:
    """A table under timm's names, counters that are none left out."""
    if rename == BY_SHAPE:
        state = key_maps.without_torchs_prefixes(table)
        names, why = other_names.by_shape(state, plan)
        if why:
            raise UserError(
                f"The weights cannot be given the names of '{plan.architecture}' by order and "
                f"shape: {why}. Write a table 'rename' in place of '{BY_SHAPE}'."
            )
        tensors = {names.get(name, name): tensor for name, tensor in state.items()}
        return Checkpoint(_without_odd_counters(tensors), "other", place)
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
        place,
        prefix,
        copies,
    )


def _one_network(
    state: dict[str, Any], plan: Blueprint
) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """A state dict that has the network once, behind which prefix, and behind which it had copies.

    A module that two names refer to is saved under both.

    Raises:
        UserError: It has the network several times, with different values.
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
                f"The weights hold the network twice, under {first!r} and {second!r}, with other "
                "values: save the one that the top-1 was measured with in a file of its own and "
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
    """What a file of weights holds, its tables of tensors among it.

    Args:
        path: The file.
        suffix: The ending of its name, which says whether it is ``.safetensors``.

    Raises:
        UserError: The file is cut short, of no known format, or holds code.
    """
    if suffix == ".safetensors":
        return _read_safetensors(path)
    if mxnet_params.is_mxnet_params(path):
        arrays = mxnet_params.read_params(path)
        return {name: torch.from_numpy(array) for name, array in arrays.items()}
    content = read_torch_file(path)
    if not isinstance(content, Mapping | list | tuple):
        raise UserError(f"'{path}' holds a {type(content).__name__}, not a state dict.")
    return content


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"'{path}' is not a whole safetensors file ({error}); fetch or write it again."
        ) from error
