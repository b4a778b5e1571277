"""Reads a user's own row from a short TOML file.

``architecture`` is required. ``weights`` is a file beside it, ``timm:<model>.<tag>``, an address,
or ``random`` (also ``none``); random weights must be asked for. ``rename`` is ``"by shape"`` or a
table from names or prefixes in the weights to timm's names, and ``reference`` is a file with an
``image`` and the ``logits`` of the weights for it. ``mean`` and ``std`` are on the scale 0 to 1;
the defaults are timm's values for its own weights and ImageNet's for others. ``top1`` is in
percent, and ``top1_on`` names its data set. ``control`` is the baseline: a row, or a file like this
one beside it. ``name`` defaults to the file's name.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from backbones.common.paths import expanded, missing
from backbones.common.toml_file import misfit, read_toml
from backbones.zoo.entry import BY_SHAPE, PerChannel, Rename, Variant, Weights
from backbones.zoo.sources import is_public, is_random, weights_file

FORM = {
    **dict.fromkeys(("name", "architecture", "weights", "control", "top1_on", "reference"), str),
    "mean": [float],
    "std": [float],
    "top1": float,
}
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def read_variant(path: Path, taken: Container[str]) -> Variant:
    """Read a user's row.

    Args:
        path: The TOML file.
        taken: Names that are not allowed.

    Raises:
        UserError: The file is missing, is not TOML, or has unknown entries.
    """
    content = _content(path)
    unknown = content.keys() - FORM.keys() - {"rename"}
    if unknown or not content.get("architecture"):
        fault = f"has the unknown entry '{sorted(unknown)[0]}'" if unknown else "names no network"
        raise UserError(
            f"'{path}' {fault}; a backbone's file has architecture, and may have name, weights, "
            "mean, std, top1, top1_on, control, rename and reference."
        )
    if wrong := misfit(content, FORM):
        raise UserError(f"In the backbone's file '{path}' {wrong}.")
    if content["architecture"].startswith("timm/"):
        raise UserError(
            f"'architecture' in '{path}' is '{content['architecture']}'; write it without 'timm/'."
        )
    top1 = content.get("top1", 0)
    if not 0 <= top1 <= 100 or 0 < top1 < 1:
        raise UserError(f"'top1' in '{path}' must be in percent, from 1 to 100; it is {top1}.")
    given = content.get("weights", "")
    if is_random(given) and (alone := sorted({"top1", "rename", "reference"} & content.keys())):
        raise UserError(f"'{path}' has a '{alone[0]}' but no 'weights'.")
    scratch = given != "" and is_random(given)
    control = content.get("control", "")
    name = content.get("name", path.stem)
    fault = "which is a row of the zoo" if name in taken else ""
    if name.endswith(("_scratch", "_shuffled")):
        fault = "a form that is reserved for controls"
    if not _NAME.fullmatch(name):
        fault = "which has other characters than allowed"
    if fault:
        raise UserError(
            f"'{path}' calls its backbone '{name}', {fault}; choose another, of letters, digits, "
            "'-', '_' and '.'."
        )
    rename, reference = _rename(content, path), _reference(content, path)
    return Variant(
        name,
        content["architecture"],
        weights=_weights(given, content, path) if given and not scratch else None,
        control=_beside(path, control, "control") if control.endswith(".toml") else control,
        scratch=scratch,
        mean=_three(content, "mean", path),
        std=_three(content, "std", path),
        own=True,
        rename=rename,
        reference=reference,
        note=_renaming(rename, reference),
    )


def _weights(given: str, content: dict[str, Any], path: Path) -> Weights:
    source = given if is_public(given) else _beside(path, given, "weights")
    return Weights(source, "own", content.get("top1"), top1_on=content.get("top1_on", ""))


def _rename(content: dict[str, Any], path: Path) -> Rename:
    """How to translate the names in the weights; empty if the file does not state it."""
    asked = content.get("rename", "")
    if isinstance(asked, dict):
        return tuple(_pairs(asked, "", path))
    if asked not in ("", BY_SHAPE):
        raise UserError(
            f"'rename' in '{path}' must be \"{BY_SHAPE}\", or a table from names in the weights to "
            "timm's."
        )
    return str(asked)


def _renaming(rename: Rename, reference: str) -> str:
    """How the names in the weights are translated, as a clause; empty for no translation."""
    if not rename:
        return ""
    how = "by order and shape" if rename == BY_SHAPE else "by the table in its file"
    checked = (
        f"the logits in '{reference}' check them"
        if reference
        else "only names and shapes check them; a 'reference' in its file would check logits"
    )
    return f"takes the tensors of its weights {how}; {checked}"


def _pairs(table: dict[str, Any], before: str, path: Path) -> Iterator[tuple[str, str]]:
    """The entries of a table; in TOML, a dot in an unquoted name makes a nested table."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _pairs(value, f"{before}{name}.", path)
        elif isinstance(value, str):
            yield before + name, value
        else:
            raise UserError(f"'rename.{before}{name}' in '{path}' must be a text.")


def _reference(content: dict[str, Any], path: Path) -> str:
    """The file with an image and its logits, or empty.

    Raises:
        UserError: It does not exist, or there is no ``rename``.
    """
    if "reference" not in content:
        return ""
    if not content.get("rename"):
        raise UserError(f"'{path}' has a 'reference' but no 'rename' that it could check.")
    return str(weights_file(_beside(path, content["reference"], "reference")))


def _beside(path: Path, named: str, what: str) -> str:
    """A file that a backbone's file refers to, relative to it."""
    try:
        return str(path.parent / expanded(named))
    except UserError as error:
        raise UserError(f"'{path}' names the {what} '{named}': {error}") from error


def _three(content: dict[str, Any], key: str, path: Path) -> PerChannel | None:
    """Three numbers from 0 to 1, or None if the file does not state them."""
    if key not in content:
        return None
    value = content[key]
    if len(value) != 3 or not all(0 <= v <= 1 for v in value):
        raise UserError(f"'{key}' in '{path}' must be three numbers from 0 to 1, for R, G and B.")
    if key == "std" and not all(value):
        raise UserError(f"'std' in '{path}' has a zero, but images are divided by it.")
    return (float(value[0]), float(value[1]), float(value[2]))


def _content(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except OSError as error:
        raise UserError(f"There is no backbone's file at that path: {missing(path)}.") from error
