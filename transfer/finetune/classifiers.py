"""Classifiers of cells: found, or trained on the sample, and ready to load."""

from __future__ import annotations

import dataclasses
import os
import signal
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.common import hardware
from backbones.common.hashing import sha256
from backbones.common.resources import cache_dir
from backbones.runtime import child_processes, ranks, stopping
from backbones.runtime.progress import Listener, notifier
from backbones.training import training
from backbones.training.known_images import recorded_name_of_images
from backbones.weights import weights
from backbones.weights.preprocessing import preprocessing, require_agreement
from backbones.weights.renamed import renamed
from backbones.weights.safetensors_header import read_own_metadata
from backbones.weights.shuffled import shuffled
from backbones.zoo import zoo
from backbones.zoo.cost import classifier_cost
from backbones.zoo.entry import Recipe
from backbones.zoo.sources import is_random
from transfer.plan.request import load_data
from transfer.plan.sample_classifiers import OF_SAMPLE, SAMPLE_TRAINING
from transfer.records.cells import SHUFFLED, Cell
from transfer.records.lease import Leases, owned, wait_for

_LOOK_EVERY = 0.5  # seconds between checks whether to stop


@dataclass(frozen=True)
class Ready:
    """A classifier that is on this machine.

    Attributes:
        path: Its file, or the source of random weights.
        mean: Channel means of its preprocessing, RGB, 0 to 255.
        std: Channel standard deviations, likewise.
        provenance: Its part of a record.
    """

    path: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    provenance: dict[str, Any]


def prepare(cell: Cell, row: zoo.Variant, listener: Listener | None = None) -> Ready:
    """Find, download or train a cell's classifier.

    Args:
        cell: The cell to fine-tune.
        row: Its row of the zoo.
        listener: Notified of a training, if one is needed.

    Raises:
        UserError: The classifier is not available; the message says what to do.
    """
    path = None if is_random(cell.weights) else _find(cell.weights, cell, row, listener)
    own = read_own_metadata(path) if path else {}
    if renamed_from := own.pop("renamed_from", ""):
        own = {}
    require_agreement(row, own, cell.weights)
    mean, std = _preprocessing(cell, row, own)
    cost = classifier_cost(cell.architecture)
    near = row.weights.near if row.weights and cell.weights == row.weights.source else ""
    recipe = _recipe(cell, row, near, own)
    provenance = {
        "source": cell.weights_id,
        "sha256": renamed_from or (sha256(path) if path else ""),
        "architecture": cell.architecture,
        "recipe": recipe.content() if recipe else None,
        "tricks": list(recipe.tricks()) if recipe else [],
        "top1": _top1(cell, row, own),
        "top1_on": _top1_on(cell, row, own),
        "near": near,
        **({"renamed": cell.rename} if cell.rename else {}),
        "training": {k: own[k] for k in own if k not in ("history", "classes")},
        "mean": mean,
        "std": std,
        "parameters": cost.parameters,
        "multiply_adds_224": cost.multiply_adds,
    }
    return Ready(str(path) if path else cell.weights, mean, std, provenance)


def _find(source: str, cell: Cell, row: zoo.Variant, listener: Listener | None) -> Path:
    scheme, _, rest = source.partition(":")
    if scheme == SHUFFLED:
        return shuffled(_find(rest, cell, row, listener), cell.architecture)
    path = _located(source, listener)
    return renamed(path, cell.architecture, cell.rename, row.reference) if cell.rename else path


def _located(source: str, listener: Listener | None) -> Path:
    scheme, _, rest = source.partition(":")
    if ranks.world_size() > 1:
        return ranks.on_each_machine(lambda: _locate_in_a_process_of_its_own(source))
    if scheme == "sample":
        return _sample_weights(rest, listener)
    return weights.locate(source)


def _locate_in_a_process_of_its_own(name: str) -> Path:
    """Get the classifier in a single process, so that it does not depend on their number.

    Raises:
        UserError: The classifier is not available.
        Interrupted: This process was asked to stop, and passed this on.
    """
    with child_processes.pool(1) as one:
        helper, stopped = one.submit(os.getpid).result(), False
        found = one.submit(_locate, name)
        while not wait([found], timeout=_LOOK_EVERY).done:
            if stopping.requested() and not stopped:
                stopped = True
                os.kill(helper, signal.SIGTERM)
        try:
            return found.result()
        except BrokenProcessPool as error:
            if stopping.requested():  # the request came before the helper could react
                raise stopping.Interrupted("stopped before the classifier was ready") from error
            raise


def _locate(name: str) -> Path:
    with stopping.on_signals():
        return weights.locate(name)  # here, where the sample's weights are known


def _sample_weights(rest: str, listener: Listener | None = None) -> Path:
    """``<row>:<seed>``, the part after ``sample:`` in a config's ``weights``."""
    name, _, seed = rest.rpartition(":")
    return train_on_sample(name, int(seed), listener)


weights.SCHEMES["sample"] = _sample_weights


def train_on_sample(name: str, seed: int, listener: Listener | None = None) -> Path:
    """The classifier of a row, trained on the sample once and then cached.

    Raises:
        UserError: The row has no recipe, or the cache is not writable.
    """
    data = load_data("sample", Path())
    assert data.classifier_images is not None
    settings = dataclasses.asdict(SAMPLE_TRAINING)
    del settings["warmup"]  # part of the recipe
    planned = training.plan(
        name,
        data.classifier_images,
        **settings,
        seed=seed,
        precision=hardware.fast_precision(),
    )
    row = dataclasses.replace(planned.row, recipe=SAMPLE_TRAINING.recipe(planned.row))
    planned = dataclasses.replace(planned, row=row)
    stem = f"{name}_s{seed}_{planned.identity}"
    place = cache_dir() / "classifiers" / "sample"
    output = place / f"{stem}.safetensors"
    lease = wait_for(Leases(place / "leases"), stem, output.is_file, notifier(listener))
    if lease:
        with owned(lease):
            training.train(
                planned, output, place / stem, cache=True, listener=_of_classifier(listener)
            )
        top1 = read_own_metadata(output)["metrics"]["top1"]
        notifier(listener)(f"the classifier of {name} is trained: top-1 {top1:.2f} % on the sample")
    return output


def _of_classifier(listener: Listener | None) -> Listener | None:
    """A listener that names the phases as those of the classifier."""
    if listener is None:
        return None

    def notify(phase: str, done: int, total: int) -> None:
        listener(f"{phase} the classifier" if total else f"classifier: {phase}", done, total)

    return notify


def _preprocessing(
    cell: Cell, row: zoo.Variant, own: dict[str, Any]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation, 0 to 255, from the file itself, a user's own row or timm."""
    given = cell.weights.removeprefix(f"{SHUFFLED}:")
    stated = cell if row.own or given.startswith("timm:") else row
    return preprocessing(
        own,
        mean=stated.mean,
        std=stated.std,
        sources=[given, row.weights.source if row.weights else ""],
        architecture=cell.architecture,
    )


def _recipe(cell: Cell, row: zoo.Variant, near: str, own: dict[str, Any]) -> Recipe | None:
    """The recipe of weights, if known: the authors' own weights or this project's.

    Close relatives were trained differently, and the training of other files is unknown.
    """
    if cell.weights.startswith(OF_SAMPLE):
        return SAMPLE_TRAINING.recipe(row)
    known = not row.shuffled_of and (near == "exact" or "row" in own)
    return row.recipe if known else None


def _top1_on(cell: Cell, row: zoo.Variant, own: dict[str, Any]) -> str:
    """The data set of top-1; empty if unknown."""
    stated = _stated(cell, row)
    if own and (stated is None or stated.top1 is None):
        return recorded_name_of_images(own)
    return stated.top1_on if stated else ""


def _top1(cell: Cell, row: zoo.Variant, own: dict[str, Any]) -> float | None:
    """Top-1 of exactly these weights in percent: the row's, else the file's; None if unknown."""
    stated = _stated(cell, row)
    if own and (stated is None or stated.top1 is None):
        return own.get("metrics", {}).get("top1")
    return stated.top1 if stated else None


def _stated(cell: Cell, row: zoo.Variant) -> zoo.Weights | None:
    """What the row states of its weights, if the cell has those."""
    return row.weights if row.weights and cell.weights == row.weights.source else None
