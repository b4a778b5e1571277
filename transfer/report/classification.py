"""Trained classifiers: their records, and which of them may stand in one table."""

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
from transfer.stats.rows import mean_interval

AUTHORS_CODE = "formulas of the authors' code"
_OWN = "as the recipe says"
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
        seed: Of its training.
        top1: On the validation images, percent.
        top5: Likewise.
        minutes_per_epoch: Time of training.
        data: Name of the images, "ImageNet" and "Places365" told by their counts.
        fingerprint: Hash of the training images' list.
        setting: By setting, the names under which this training may be grouped, the fittest
            first.
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
    """Classifiers of one data set, trained alike but for their recipes.

    Attributes:
        data: Name of the images.
        training: How all of them were trained, in words.
        changed: What of it is not as the recipes say.
        rows: By row of the zoo, one classifier a seed.
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
        """95 % t interval of the mean top-1 over classifiers; None where one seed was trained."""
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
"""All that a record of other types than ours may lead to."""


def read_all(results: Path) -> tuple[list[Trained], list[str]]:
    """Every classifier's record that can be read, and a sentence for each that cannot."""
    good, bad = [], []
    for path in records.files(results / "records" / "classifiers"):
        try:
            good.append(_trained(path, read_json(path)))
        except _DAMAGES as error:
            what = f"{type(error).__name__}: {error}"
            bad.append(f"'{path}' is no readable record of a classifier ({what}); it is left out.")
        except UnfitFile as error:
            bad.append(
                f"'{path}' is no readable record of a classifier: it {error.reason}; it is left "
                "out."
            )
    return good, bad


def _trained(path: Path, told: dict[str, Any]) -> Trained:
    figures = {name: told["metrics"][name] for name in ("top1", "top5")}
    wrong = [f"{name} is {value!r}" for name, value in figures.items() if not _is_percent(value)]
    if type(told["seed"]) is not int:
        wrong.append(f"seed is {told['seed']!r}")
    figures["minutes_per_epoch"] = told["seconds"] / told["epochs"] / 60
    if not 0 <= figures["minutes_per_epoch"] < math.inf:
        wrong.append(f"minutes_per_epoch is {figures['minutes_per_epoch']!r}")
    if wrong:
        raise ValueError(", ".join(wrong))
    names = {
        "row": told["row"],
        "architecture": told["architecture"],
        "data": name_of_images(told),
        "fingerprint": told["data"]["fingerprint"],
    }
    if odd := [f"{name} is {value!r}" for name, value in names.items() if type(value) is not str]:
        raise ValueError(", ".join(odd))
    return Trained(
        path=path,
        row=names["row"],
        architecture=names["architecture"],
        seed=told["seed"],
        data=names["data"],
        fingerprint=names["fingerprint"],
        setting=_setting(told),
        **figures,
    )


def _is_percent(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 100


def _setting(told: dict[str, Any]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    recipe = told["recipe"]
    base_lr = told["lr"] * 256 / told["batch_size"]
    own = {
        "epochs": (told["epochs"], recipe["epochs"]),
        "batch": (told["batch_size"], recipe["batch_size"]),
        "rate at batch 256": (f"{base_lr:.6g}", f"{recipe['base_lr']:.6g}"),
        "pixels": (told["image_size"], _PAPER_SIZE.get(told["architecture"], 224)),
        "smallest crop": (told["min_area"], _PAPER_MIN_AREA),
        AUTHORS_CODE: (told["authors_code"], False),
    }
    names: dict[str, tuple[str, ...]] = {
        what: (_OWN, str(value)) if value == expected else (str(value),)
        for what, (value, expected) in own.items()
    }
    # Until version 2 MMEngine had timm's networks initialise themselves, whatever the recipe said.
    timms = told.get("version", 1) < 2
    names["initialisation"] = ("timm's, zero gamma in every row",) if timms else (_OWN,)
    names["precision"] = _precision_names(_PRECISIONS[told["precision"]], recipe["half_precision"])
    return tuple(names.items())


def _precision_names(precision: str, half: bool) -> tuple[str, ...]:
    """``bfloat16 for half precision`` is met by its rows and by the full-precision rows."""
    if half and precision != "float32":
        return f"{precision} for half precision", precision
    if not half and precision == "float32":
        halves = ("float16", "bfloat16")
        return precision, *(f"{half} for half precision" for half in halves)
    return (precision,)


def groups(trained: Iterable[Trained]) -> tuple[list[Group], list[str]]:
    """What may stand in one table: the same images, the same changes to the recipes.

    A training with the recipe's own settings may stand in more than one group: beside others that
    have their own, and beside those that were set to its value. A group within another is dropped.

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
    told = [
        name if what == "precision" else f"{what} {name}"
        for what, name in names.items()
        if name != _OWN
    ]
    return ", ".join(["own recipes", *told])


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
                f"{one.path.name} is of the same row, seed and training as {first.path.name}; one "
                "training counts once, so remove one of them."
            )
    return {row: tuple(seeds.values()) for row, seeds in rows.items()}, repeated
