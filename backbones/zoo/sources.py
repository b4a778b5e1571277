"""How weights are named: ``timm:<model>[.<tag>]`` on timm's hub, an address, or a file."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.near_names import near

_ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".params", ".ckpt", ".tar", ".zip")


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
    path = Path(source).expanduser()
    if not path.is_file():
        raise UserError(
            f"There are no weights at '{path.absolute()}'{_in_its_place(path)}: give a "
            ".safetensors, .pth or .params file, 'timm:<model>.<tag>', or an https address."
        )
    return path


def _in_its_place(path: Path) -> str:
    """What is where a file should be, as the end of a sentence; empty for nothing like it."""
    if path.is_dir():
        inside = [one.name for one in _files(path) if one.suffix in _ENDINGS]
        return ", a folder" + (f" with '{inside[0]}' in it" if inside else "")
    if path.is_symlink():
        return f", a link to '{path.readlink()}', which does not exist"
    if path.exists():
        return ", which is no regular file"
    if not path.parent.is_dir():
        return f": the folder '{path.parent.absolute()}' does not exist"
    beside = {one.name: one for one in _files(path.parent)}
    wanted = _plain(path.name)
    alike = [name for name in beside if _plain(name) == wanted]
    alike += [name for name in beside if _plain(Path(name).stem) == _plain(path.stem)]
    alike += near(path.name, [name for name in beside if Path(name).suffix in _ENDINGS])
    alike = [name for name in dict.fromkeys(alike) if Path(name).suffix in _ENDINGS]
    return f"; in its folder there is '{alike[0]}'" if alike else ""


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(one for one in folder.iterdir() if one.is_file())
    except OSError:
        return []


def _plain(name: str) -> str:
    """A name without case, and in one of Unicode's forms."""
    return unicodedata.normalize("NFC", name).casefold()
