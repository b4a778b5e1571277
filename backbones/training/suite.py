"""Suites of classifiers, such as the paper's ablations."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.common.atomic_write import write_atomically
from backbones.common.errors import UserError
from backbones.common.near_names import suggestion
from backbones.common.paths import expanded, unknown_name
from backbones.common.resources import resource_dir
from backbones.common.seeds import require_seed
from backbones.common.toml_file import misfit, read_toml, unknown
from backbones.zoo import zoo

KIND = "classification"

FORM = {"kind": str, "rows": [str], "seeds": [int]}


@dataclass(frozen=True)
class ClassifierSuite:
    """The rows to train, and their seeds.

    Attributes:
        name: Name of the suite.
        rows: Rows of the zoo.
        seeds: Every row is trained with every seed.
    """

    name: str
    rows: tuple[str, ...]
    seeds: tuple[int, ...]


def load(name: str) -> ClassifierSuite:
    """Read a suite of ``configs/suites`` by name, or a user's own file.

    Raises:
        UserError: Not found, malformed, an unknown row, or a repeated row or seed.
    """
    folder = resource_dir("configs", "configs") / "suites"
    path = expanded(name) if name.endswith(".toml") else folder / f"{name}.toml"
    try:
        content = read_toml(path, "The suite")
    except OSError as error:
        raise unknown_name("suite", name, [p.stem for p in folder.glob("*.toml")]) from error
    if content.get("kind") != KIND:
        raise UserError(
            f"The suite '{path}' is not a suite of classifiers (kind = \"{KIND}\"); run it with "
            "'transfer run --suite'."
        )
    if wrong := misfit(content, FORM):
        raise UserError(f"In the suite '{path}' {wrong}.")
    for key, known in unknown(content, FORM):
        raise UserError(f"The suite '{path}' has an unknown key '{key}': {suggestion(key, known)}")
    rows, seeds = tuple(content.get("rows", ())), tuple(content.get("seeds", (0,)))
    for values, what in ((rows, "row"), (seeds, "seed")):
        twice = sorted(str(value) for value, times in Counter(values).items() if times > 1)
        if twice or not values:
            fault = f"names the {what} {twice[0]} twice" if twice else f"names no {what}"
            raise UserError(f"The suite '{path}' {fault}.")
    for seed in seeds:
        require_seed(seed, f"In the suite '{path}' a seed")
    for row in rows:
        zoo.find(row)
    return ClassifierSuite(path.stem, rows, seeds)


def record_path(results: Path, stem: str) -> Path:
    """The path of the record of a trained classifier."""
    return results / "records" / "classifiers" / f"{stem}.json"


def write_record(path: Path, metadata: dict[str, Any]) -> None:
    """Write the record of a training, atomically.

    Raises:
        UserError: The folder cannot be written.
    """
    text = json.dumps(metadata, indent=1, sort_keys=True, allow_nan=False)
    write_atomically(path, text.encode())
