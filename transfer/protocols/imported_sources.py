"""The source of a user's own modules, which their protocol imports by ``custom_imports``."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from backbones.common.hashing import sha256

SOURCES = "imported_sources"
"""Name of the sources among a protocol's settings."""

_INSTALLED = ("mmdet", "mmseg", "mmengine", "mmcv", "torch", "transfer", "backbones")
"""Packages whose versions a record states."""


def sources(imports: Any) -> dict[str, str]:
    """The SHA-256 of the source of each module of the user's own; none for one that is missing.

    Args:
        imports: The config's ``custom_imports``.
    """
    names = imports.get("imports") if isinstance(imports, dict) else None
    names = [names] if isinstance(names, str) else names or []
    own = [name for name in names if str(name).partition(".")[0] not in _INSTALLED]
    return {name: digest for name in own if (digest := _digest(name))}


def require_same(planned: Mapping[str, str]) -> None:
    """Check, before modules are imported, that they are those for which the run was planned.

    Raises:
        UserError: One has another source.
    """
    for name, digest in planned.items():
        if name not in sys.modules and _digest(name) not in ("", digest):
            raise UserError(
                f"The module '{name}' in the protocol's custom_imports is not the one for which "
                "the run was planned; start the command again, with the same file on every machine."
            )


def _digest(name: str) -> str:
    try:
        spec = importlib.util.find_spec(name)
    except Exception:  # a package around it may raise anything; the import itself reports it
        return ""
    if spec is None or not spec.has_location or not Path(str(spec.origin)).is_file():
        return ""
    return sha256(Path(str(spec.origin)))
