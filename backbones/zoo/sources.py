"""Sources of weights: ``timm:<model>[.<tag>]`` on timm's hub, an address, or a file."""

from __future__ import annotations

from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.paths import expanded, missing

_ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".params", ".ckpt")


def is_public(source: str) -> bool:
    """Whether weights are on timm's hub or at an address; anything else is a file."""
    return source.startswith(("timm:", "http:", "https:"))


def is_random(source: str | None) -> bool:
    """Whether a config or a row asks for random weights."""
    return source in (None, "", "none", "random")


def weights_file(source: str) -> Path:
    """The path of a file of weights.

    Raises:
        UserError: It does not exist; the message says what is there instead, and what can be given.
    """
    path = expanded(source)
    if not path.is_file():
        raise UserError(
            f"There are no weights at that path: {missing(path)}{_inside(path)}. Give a "
            ".safetensors, .pth or .params file, 'timm:<model>.<tag>', or an https address."
        )
    return path


def _inside(folder: Path) -> str:
    """Names the weights in a folder that was given instead of a file; empty for none."""
    found = sorted(path.name for path in folder.glob("*") if path.suffix in _ENDINGS)
    return f"; it contains '{found[0]}'" if found else ""
