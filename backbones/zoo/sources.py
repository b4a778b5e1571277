"""How weights are named: ``timm:<model>[.<tag>]`` on timm's hub, an address, or a file."""

from __future__ import annotations

from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.paths import expanded, missing


def is_public(source: str) -> bool:
    """Whether weights are on timm's hub or at an address; anything else names a file."""
    return source.startswith(("timm:", "http:", "https:"))


def is_random(source: str | None) -> bool:
    """Whether a config or a row asks for a start from random weights."""
    return source in (None, "", "none", "random")


def weights_file(source: str) -> Path:
    """The file that weights were given as.

    Raises:
        UserError: There is none; the sentence says what is in its place, and what can be given.
    """
    path = expanded(source)
    if not path.is_file():
        raise UserError(
            f"There are no weights at that place: {missing(path)}. Give a .safetensors, .pth or "
            ".params file, 'timm:<model>.<tag>', or an https address."
        )
    return path
