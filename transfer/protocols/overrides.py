"""Checks that the settings that a suite overrides exist.

To MMEngine's configs a mistyped name is just another setting: a class may refuse it once the cell
has started, or nothing reads it.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from mmengine.config import Config
from torch.utils.data import DataLoader

from backbones.common.errors import UserError
from backbones.common.escape import brief
from backbones.common.near_names import suggestion
from backbones.zoo.entry import IMAGENET_MEAN, IMAGENET_STD
from transfer.compat.network_size import MOST_WEIGHTS, weights_in
from transfer.compat.registered import registered
from transfer.datasets.data_set import DataSet
from transfer.protocols.buildable import require_buildable, require_not_negative
from transfer.protocols.compose import compose, entry
from transfer.protocols.read_settings import READ, require_of_a_protocol
from transfer.protocols.training_length import require_schedule
from transfer.records.cells import Cell
from transfer.records.settings import EPOCHS, WITHOUT

_LOADERS = ("train_dataloader", "val_dataloader")
_RULES = (  # keys of mmengine's DefaultOptimWrapperConstructor
    *("custom_keys", "bias_lr_mult", "bias_decay_mult", "norm_decay_mult", "flat_decay_mult"),
    *("dwconv_decay_mult", "dcn_offset_lr_mult", "bypass_duplicate"),
)
_TABLES_OF_RULES = ("paramwise_cfg", "custom_keys")


def require_settings(cell: Cell, data: DataSet) -> None:
    """Check that each override of a cell sets a known key or a parameter of a class.

    A new key must be a parameter of the class that is built from its table.

    Raises:
        UserError: An override is neither, with the nearest known name; or no run reads it, or it
            belongs to the run, its row or its data set; or the learning rate cannot follow the
            resulting schedule; or the network cannot be built, or is too large; or optimizer or
            loaders refuse it.
    """
    kept = tuple((name, value) for name, value in cell.overrides if name == WITHOUT)
    before = _composed(dataclasses.replace(cell, overrides=kept), data)
    settings = {name: value for name, value in cell.overrides if name not in (WITHOUT, EPOCHS)}
    names = list(settings)
    for name, value in settings.items():
        require_of_a_protocol(name, before)
        require_not_negative(name, value)
    try:
        after = _composed(cell, data)
    except (TypeError, KeyError, IndexError, ValueError, AttributeError) as error:
        for name in names:  # a mistyped name is the likelier cause
            _require(name, before, before, cell)
        raise UserError(
            f"The overrides {', '.join(names)} do not fit the protocol '{cell.protocol}' of "
            f"{cell.task}: {error}."
        ) from error
    for name in names:
        _require(name, before, after, cell)
    require_buildable(after, names, f"protocol '{cell.protocol}' of {cell.task}")
    require_schedule(after, cell.protocol)
    of_model = [name for name in names if f"{name}.".startswith("model.")]
    if of_model:
        _require_network(after, ", ".join(of_model), cell)


def _require_network(cfg: Config, names: str, cell: Cell) -> None:
    """Check that the network of changed settings can be built and held in memory."""
    place = f"the protocol '{cell.protocol}' of {cell.task}"
    try:
        found = weights_in(cfg.model, cfg.default_scope)
    except UserError:
        return  # about the backbone, whose own check reports it
    except Exception as error:  # the toolboxes may raise anything
        raise UserError(
            f"The network of {place} cannot be built with the overrides {names}: {brief(error)}."
        ) from error
    if found > MOST_WEIGHTS:
        raise UserError(
            f"The overrides {names} give the network of {place} {found:,} weights, more than the "
            f"{MOST_WEIGHTS:,} that are built."
        )


def _composed(cell: Cell, data: DataSet) -> Config:
    return compose(cell, data, weights="", mean=IMAGENET_MEAN, std=IMAGENET_STD)


def _require(name: str, before: Config, after: Config, cell: Cell) -> None:
    """Follow a dotted name to its end, or to its first new part."""
    old, new = (dict(cfg.items()) for cfg in (before, after))
    path: tuple[str, ...] = ()
    for part in name.split("."):
        if isinstance(old, list | tuple):
            known = [str(place) for place in range(len(old))]
        elif isinstance(old, dict):
            known = [*old, *_taken(path, new, after)] if path else list(READ)
        else:
            known = []
        if part not in known and path[-1:] != (
            "custom_keys",
        ):  # custom keys name parts of any network
            where = f"'{'.'.join(path)}'" if path else "its config"
            raise UserError(
                f"The override '{name}' sets nothing in the protocol '{cell.protocol}' of "
                f"{cell.task}: "
                f"{where} has no '{part}'; "
                + (suggestion(part, list(dict.fromkeys(known))) if known else "it is a value.")
            )
        old, new = entry(old, part), entry(new, part)
        if old is None and new is not None:
            if part not in _TABLES_OF_RULES and path[-1:] != ("custom_keys",):
                return  # new from here on: its class decides
            old = {}  # a table of rules, of which unknown ones would be ignored
        path = (*path, part)
    if _has_tables(old) and not (isinstance(new, dict) or new in ([], ()) or _has_tables(new)):
        keys = (list(old) or _taken(path, new, after)) if isinstance(old, dict) else ["0"]
        raise UserError(
            f"The override '{name}' would replace what is made of tables by {new!r}. Override one "
            f"of its entries, such as {' or '.join(f'{name}.{key}' for key in keys[:6])}."
        )


def _has_tables(node: Any) -> bool:
    """Whether a part of a config is a table or a list of tables."""
    return isinstance(node, dict) or (
        isinstance(node, list | tuple) and any(isinstance(part, dict) for part in node)
    )


def _taken(path: tuple[str, ...], node: Any, cfg: Config) -> list[str]:
    """Parameters of the class built from a table that the table does not set yet.

    Args:
        path: Place of the table in the config.
        node: The table.
        cfg: The whole config, with the overrides.
    """
    if path[-1] in _LOADERS:
        return sorted(_parameters(DataLoader))
    if path[-2:-1] == ("custom_keys",):
        return ["lr_mult", "decay_mult"]
    if path[-1] == "paramwise_cfg":
        layered = cfg.optim_wrapper.get("constructor") == "LayerDecay"
        return ["layer_decay"] if layered else list(_RULES)
    kind = node.get("type") if isinstance(node, dict) else None
    taken = {name for built in registered(kind, cfg.default_scope) for name in _parameters(built)}
    if path == ("optim_wrapper",):
        taken |= {"paramwise_cfg", "constructor"}  # read by its builder
    return sorted(taken)


def _parameters(built: Any) -> set[str]:
    """Parameter names of a class and of its base classes."""
    if not isinstance(built, type):
        return set(inspect.signature(built).parameters)
    names: set[str] = set()
    for kind in built.__mro__:
        if "__init__" not in vars(kind):
            continue
        own = inspect.signature(vars(kind)["__init__"]).parameters.values()
        names |= {p.name for p in own if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if all(p.kind is not p.VAR_KEYWORD for p in own):
            break
    return names - {"self"}
