"""Trained classifiers: their records, and which of them may share a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backbones.common.json_file import read_json
from backbones.common.regular_file import UnfitFile
from backbones.training.known_images import name_of_images
from transfer.records import records
from transfer.stats.summary import mean_interval

AUTHORS_CODE = "formulas of the authors' code"
_OWN = "as in the recipe"
_RECIPES_PRECISIONS = ("float32", "float16", "float16 for half precision")
_PRECISIONS = {
    "OptimWrapper": "float32",
    "AmpOptimWrapper": "float16",
    "Bfloat16OptimWrapper": "bfloat16",
}
_PAPER_SIZE = {"inception_v3": 299}
_PAPER_MIN_AREA = 0.08


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One trained classifier.

    Attributes:
        path: Its record.
        row: Row of the zoo.
        architecture: Its network.
        seed: Seed of its training.
        top1: On the validation images, in percent.
        top5: Likewise.
        minutes_per_epoch: Time of training.
        data: Name of the data set; "ImageNet" and "Places365" are recognised by their counts.
        fingerprint: Hash of the list of training images.
        setting: For each setting, the names under which this training may be grouped, the best
            match first.
    """

    path: Path
    row: str
    architecture: str
    seed: int
    top1: float
    top5: float
    minutes_per_epoch: float
    data: str
    fingerprint: str
    setting: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Group:
    """Classifiers of one data set, trained alike except for their recipes.

    Attributes:
        data: Name of the data set.
        training: Their common training, in words.
        changed: The settings that differ from the recipes.
        rows: By row of the zoo, one classifier per seed.
    """

    data: str
    training: str
    changed: tuple[str, ...]
    rows: dict[str, tuple[Trained, ...]]

    def mean(self, row: str, figure: str) -> float | None:
        """Mean over seeds of an attribute of :class:`Trained`; None without the row."""
        values = [getattr(one, figure) for one in self.rows.get(row, ())]
        return float(np.mean(values)) if values else None

    def top1_interval(self, row: str) -> tuple[float, float] | tuple[None, None]:
        """95 % t interval of the mean top-1 over classifiers; None for a single seed."""
        return mean_interval(np.array([one.top1 for one in self.rows.get(row, ())]))


_DAMAGES = (
    OSError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Exceptions that a record with wrong types may cause."""


def read_all(results: Path) -> tuple[list[Trained], list[str]]:
    """Every readable record of a classifier, and a sentence for each unreadable one."""
    good, bad = [], []
    for path in records.files(results / "records" / "classifiers"):
        try:
            good.append(_trained(path, read_json(path)))
        except _DAMAGES as error:
            what = f"{type(error).__name__}: {error}"
            bad.append(f"'{path}' is not a readable classifier record ({what}); it is left out.")
        except UnfitFile as error:
            bad.append(
                f"'{path}' is not a readable classifier record: it {error.reason}; it is left out."
            )
    return good, bad


def _trained(path: Path, content: dict[str, Any]) -> Trained:
    figures = {name: content["metrics"][name] for name in ("top1", "top5")}
    wrong = [f"{name} is {value!r}" for name, value in figures.items() if not _is_percent(value)]
    if type(content["seed"]) is not int:
        wrong.append(f"seed is {content['seed']!r}")
    figures["minutes_per_epoch"] = content["seconds"] / content["epochs"] / 60
    if not 0 <= figures["minutes_per_epoch"] < math.inf:
        wrong.append(f"minutes_per_epoch is {figures['minutes_per_epoch']!r}")
    if wrong:
        raise ValueError(", ".join(wrong))
    names = {
        "row": content["row"],
        "architecture": content["architecture"],
        "data": name_of_images(content),
        "fingerprint": content["data"]["fingerprint"],
    }
    if odd := [f"{name} is {value!r}" for name, value in names.items() if type(value) is not str]:
        raise ValueError(", ".join(odd))
    return Trained(
        path=path,
        row=names["row"],
        architecture=names["architecture"],
        seed=content["seed"],
        data=names["data"],
        fingerprint=names["fingerprint"],
        setting=_setting(content),
        **figures,
    )


def _is_percent(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 100


def _setting(content: dict[str, Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    recipe = content["recipe"]
    base_lr = content["lr"] * 256 / content["batch_size"]
    own = {
        "epochs": (content["epochs"], recipe["epochs"]),
        "batch": (content["batch_size"], recipe["batch_size"]),
        "learning rate at batch size 256": (f"{base_lr:.6g}", f"{recipe['base_lr']:.6g}"),
        "pixels": (content["image_size"], _PAPER_SIZE.get(content["architecture"], 224)),
        "smallest crop": (content["min_area"], _PAPER_MIN_AREA),
        AUTHORS_CODE: (content["authors_code"], False),
    }
    names: dict[str, tuple[str, ...]] = {
        what: (_OWN, str(value)) if value == expected else (str(value),)
        for what, (value, expected) in own.items()
    }
    # Before version 2, MMEngine let timm's networks initialise themselves, whatever the recipe.
    timms = content.get("version", 1) < 2
    names["initialisation"] = ("timm's, zero gamma in every row",) if timms else (_OWN,)
    names["precision"] = _precision_names(
        _PRECISIONS[content["precision"]], recipe["half_precision"]
    )
    return tuple(names.items())


def _precision_names(precision: str, half: bool) -> tuple[str, ...]:
    """``bfloat16 for half precision`` fits its own rows and the full-precision rows."""
    if half and precision != "float32":
        return f"{precision} for half precision", precision
    if not half and precision == "float32":
        halves = ("float16", "bfloat16")
        return precision, *(f"{half} for half precision" for half in halves)
    return (precision,)


def groups(trained: Iterable[Trained]) -> tuple[list[Group], list[str]]:
    """Classifiers that may share a table: same images, same changes to the recipes.

    A training with the recipe's own settings may be in several groups: beside others with their own
    settings, and beside those that were set to its values. A group within another is dropped.

    Returns:
        The groups, and a sentence for each record that repeats another.
    """
    by_data: dict[tuple[str, str], list[Trained]] = {}
    for one in trained:
        by_data.setdefault((one.data, one.fingerprint), []).append(one)
    found: list[Group] = []
    repeated: dict[str, None] = {}
    for (data, _), members in by_data.items():
        for names, kept in _largest(members):
            rows, again = _by_row(kept)
            found.append(Group(data, _in_words(names), _changed(names), rows))
            repeated.update(dict.fromkeys(again))
    return found, list(repeated)


def _largest(members: Sequence[Trained]) -> list[tuple[dict[str, str], list[Trained]]]:
    fittest = {tuple((what, names[0]) for what, names in one.setting) for one in members}
    kept = []
    for key in sorted(fittest):
        fits = [one for one in members if _fits(one, dict(key))]
        kept.append((dict(key), fits))
    paths = [{one.path for one in fits} for _, fits in kept]
    return [
        group
        for number, group in enumerate(kept)
        if not any(paths[number] < rest for rest in paths)
    ]


def _fits(one: Trained, key: dict[str, str]) -> bool:
    return all(key[what] in names for what, names in one.setting)


def _in_words(names: dict[str, str]) -> str:
    changes = [
        name if what == "precision" else f"{what} {name}"
        for what, name in names.items()
        if name != _OWN
    ]
    return ", ".join(["own recipes", *changes])


def _changed(names: dict[str, str]) -> tuple[str, ...]:
    own = (_OWN, *_RECIPES_PRECISIONS)
    return tuple(what for what, name in names.items() if name not in own)


def _by_row(members: Sequence[Trained]) -> tuple[dict[str, tuple[Trained, ...]], list[str]]:
    rows: dict[str, dict[int, Trained]] = {}
    repeated = []
    for one in members:
        first = rows.setdefault(one.row, {}).setdefault(one.seed, one)
        if first is not one:
            repeated.append(
                f"{one.path.name} has the same row, seed and training as {first.path.name}; each "
                "training counts once, so remove one of them."
            )
    return {row: tuple(seeds.values()) for row, seeds in rows.items()}, repeated
