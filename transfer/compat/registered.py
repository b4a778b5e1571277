"""Looks up MMEngine's registries without importing anything by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import mmengine.registry
from mmengine.registry import Registry

from backbones.common.errors import UserError
from backbones.common.versions import versions
from transfer.compat.foreign_configs import types_in


def registered(name: Any, scope: str) -> Iterator[Any]:
    """The object registered under a name in any registry; the scope's before MMEngine's."""
    if not isinstance(name, str):
        return
    prefix, _, plain = name.rpartition(".")
    for registry in vars(mmengine.registry).values():
        if isinstance(registry, Registry):
            for place in (registry.children.get(prefix or scope), registry):
                if place is not None and plain in place.module_dict:
                    yield place.module_dict[plain]
                    break


def require_registered(tree: Any, scope: str, source: str) -> None:
    """Check that each class in a tree is registered and is a class.

    MMEngine would import an unregistered name and call it.

    Args:
        tree: A tree without faults, see :mod:`transfer.compat.foreign_configs`.
        scope: Scope of the toolbox that builds it.
        source: Source of the tree, for the message.

    Raises:
        UserError: One is not registered, or not a class.
    """
    for name in types_in(tree):
        found = list(registered(name, scope))
        if not found or not all(map(inspect.isclass, found)):
            raise UserError(
                f"{source} contain an unknown name: '{name}' is not a class of the installed "
                "toolboxes "
                f"({', '.join(f'{package} {version}' for package, version in versions().items())})."
            )
