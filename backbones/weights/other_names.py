"""Renames weights whose names belong to no library in :mod:`backbones.weights.key_maps`.

A user's row chooses how: by a table, or by order and shape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from backbones.common.errors import UserError
from backbones.common.near_names import suggestion
from backbones.weights.blueprint import Blueprint, is_counter

_LARGEST_HEAD = 8  # tensors of a head with another number of classes
_KINDS = {
    "weight": re.compile(r"(?:^|[._])(?:weight|gamma|scale|kernel)$"),
    "bias": re.compile(r"(?:^|[._])(?:bias|beta|offset)$"),
    "mean": re.compile(r"(?:^|[._])(?:running|moving)_mean$"),
    "variance": re.compile(r"(?:^|[._])(?:running|moving)_var(?:iance)?$"),
}
_NUMBER = re.compile(r"[0-9]{1,9}")


def by_table(state: Mapping[str, Any], pairs: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Rename a state dict by a table; the longest matching prefix counts.

    Raises:
        UserError: An entry of the table matches no name, or two names become one.
    """
    given = dict(pairs)
    used: set[str] = set()
    renamed: dict[str, Any] = {}
    for name, tensor in state.items():
        new = name
        segments = name.split(".")
        for count in range(len(segments), 0, -1):
            if (beginning := ".".join(segments[:count])) in given:
                used.add(beginning)
                new = ".".join(filter(None, (given[beginning], *segments[count:])))
                break
        if new in renamed:
            raise UserError(
                f"The table 'rename' gives two tensors of the weights one name, '{new}': the "
                f"second is '{name}'. Give each its own."
            )
        renamed[new] = tensor
    if unused := [old for old, _ in pairs if old not in used]:
        raise UserError(
            f"The table 'rename' has '{unused[0]}', but no name in the weights equals or begins "
            f"with it; {suggestion(unused[0], list(state)[:200])}"
        )
    return renamed


def by_shape(state: Mapping[str, Any], plan: Blueprint) -> tuple[dict[str, str], str]:
    """Pair a file's tensors with a network's by order and shape, if that is unambiguous.

    Both must have the same shapes in the same order, without counters. A head at the end may have
    another number of classes, be another one, which is left out, or be missing. The names of a
    pair must not contradict each other (``bias`` and ``running_mean``), and numbers in names must
    ascend: a file that was sorted by names has lost the order of its network.

    Args:
        state: The file's tensors, in the order in which they were saved.
        plan: The network.

    Returns:
        Names of the network by those of the file, and ``""``; or an empty table and the reason.
    """
    found = [name for name in state if not is_counter(name)]
    wanted = [name for name in plan.shapes if not is_counter(name)]
    body = [name for name in wanted if name in plan.parts]
    if len(found) < len(body):
        return {}, f"it has {len(found)} tensors, but the backbone has {len(body)}"
    whole = _fits(found, wanted, state, plan)
    if not whole and (body != wanted[: len(body)] or len(found) > len(body) + _LARGEST_HEAD):
        return {}, f"it has {len(found)} tensors, but the network has {len(wanted)}"
    for old, new in zip(found, body, strict=False) if not whole else ():
        if tuple(state[old].shape) != plan.shapes[new]:
            shape = tuple(state[old].shape)
            return {}, f"'{old}' has the shape {shape}, but '{new}' has {plan.shapes[new]}"
    pairs = list(zip(found, wanted if whole else body, strict=False))
    for old, new in pairs:
        if not _may_mean(old, new, len(plan.shapes[new])):
            return {}, f"'{old}' would be '{new}', but its name does not fit"
    if fault := _out_of_order([old for old, _ in pairs]):
        return {}, fault
    rest, heads = found[len(pairs) :], wanted[len(pairs) :]
    if _is_head(rest, heads, state, plan):
        pairs += zip(rest, heads, strict=True)
    return dict(pairs), ""


def _fits(found: list[str], wanted: list[str], state: Mapping[str, Any], plan: Blueprint) -> bool:
    return [tuple(state[old].shape) for old in found] == [plan.shapes[new] for new in wanted]


def _is_head(rest: list[str], heads: list[str], state: Mapping[str, Any], plan: Blueprint) -> bool:
    """Whether the remaining tensors are the head, with any number of classes."""
    return len(rest) == len(heads) and all(
        tuple(state[old].shape[1:]) == plan.shapes[new][1:]
        and _may_mean(old, new, len(plan.shapes[new]))
        for old, new in zip(rest, heads, strict=True)
    )


def _may_mean(old: str, new: str, dimensions: int) -> bool:
    """Whether a name may mean another; vectors need fitting names, since many have one size."""
    kinds = [
        next((kind for kind, ending in _KINDS.items() if ending.search(name)), "")
        for name in (old, new)
    ]
    if dimensions == 1:
        return kinds[0] == kinds[1]
    return not all(kinds) or kinds[0] == kinds[1]


def _out_of_order(names: list[str]) -> str:
    """Where numbers in otherwise equal names do not ascend; empty if they all do."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_NUMBER.sub("#", name), []).append(name)
    for group in alike.values():
        for before, after in pairwise(group):
            if _numbers(after) <= _numbers(before):
                return (
                    f"'{after}' comes after '{before}', so the file is not in the network's order"
                )
    return ""


def _numbers(name: str) -> list[int]:
    return [int(number) for number in _NUMBER.findall(name)]
