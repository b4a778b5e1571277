"""TOML files that people write: data sets, suites and backbones of their own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from backbones.errors import UserError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: Path, what: str = "") -> dict[str, Any]:
    """What a TOML file says.

    Args:
        path: The file.
        what: What it is, for the sentence; empty for the path alone.

    Raises:
        UserError: It is not valid TOML.
        OSError: It cannot be opened.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        name = f"{what} '{path}'" if what else f"'{path}'"
        raise UserError(f"{name} is not valid TOML: {error}.") from error
