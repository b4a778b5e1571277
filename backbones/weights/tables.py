"""Finds the tables of tensors in a saved object, such as a nested state dict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

_DEEPEST = 8
_AVERAGED_MODELS = "n_averaged"  # a counter in torch's AveragedModel

Table = dict[str, Tensor]


def tables(saved: Any) -> dict[str, Table]:
    """Find the tables of tensors at every level.

    Args:
        saved: The content of a file: mappings and lists of any depth; it may contain itself.

    Returns:
        The tables by location, such as ``model.state_dict`` or ``[0]``, in the file's order; the
        top level is ``""``. A table has the tensors of one mapping, by name.
    """
    return {place: table for place, table in _walk(saved, "", set(), 0) if table}


def _walk(part: Any, place: str, seen: set[int], depth: int) -> Iterator[tuple[str, Table]]:
    if depth > _DEEPEST or id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, Mapping):
        yield place, {name: value for name, value in part.items() if _is_entry(name, value)}
        for name, value in part.items():
            yield from _walk(value, f"{place}.{name}" if place else str(name), seen, depth + 1)
    elif isinstance(part, list | tuple):
        for number, value in enumerate(part):
            yield from _walk(value, f"{place}[{number}]", seen, depth + 1)


def _is_entry(name: Any, value: Any) -> bool:
    return (
        isinstance(name, str)
        and isinstance(value, Tensor)
        and name.rpartition(".")[-1] != _AVERAGED_MODELS
    )


def flattened(found: Mapping[str, Table]) -> Table:
    """All tables as one, with their locations as prefixes: a state dict nested by modules."""
    return {
        f"{place}.{name}" if place else name: tensor
        for place, table in found.items()
        for name, tensor in table.items()
    }
