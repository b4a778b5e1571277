"""What stands in MMEngine's registries, found without importing anything by its name."""

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
    """What is registered under a name, whatever for; the scope's own before MMEngine's."""
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
    """See that each class that a tree names is registered, and is a class.

    MMEngine would import a name that is not, and call what it finds.

    Args:
        tree: Without faults, see :mod:`transfer.compat.foreign_configs`.
        scope: Of the toolbox that it is built in.
        source: What the tree is of, for the sentence.

    Raises:
        UserError: One is not.
    """
    for name in types_in(tree):
        found = list(registered(name, scope))
        if not found or not all(map(inspect.isclass, found)):
            raise UserError(
                f"{source} name something unknown: '{name}' is no class of the installed toolboxes "
                f"({', '.join(f'{package} {version}' for package, version in versions().items())})."
            )
