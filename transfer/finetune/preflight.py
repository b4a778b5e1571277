"""What of a run's cells can be found wrong before the first is begun: networks, weights, settings.

Planning imports nothing heavy and cannot see these; each costs seconds here, and hours where the
control has been fine-tuned first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS

from backbones.common.errors import UserError
from backbones.openmmlab.backbone import require_maps
from backbones.weights import weights
from backbones.weights.renamed import renamed
from backbones.zoo.sources import is_public
from transfer import openmmlab  # noqa: F401  (registers everything, operators first)
from transfer.datasets import catalogue
from transfer.datasets.requirements import require_usable
from transfer.plan.network_faults import told_of
from transfer.plan.request import load_data
from transfer.plan.sample_classifiers import OF_SAMPLE
from transfer.protocols.compose import network_parts
from transfer.protocols.overrides import require_settings
from transfer.records.cells import SHUFFLED, Cell, Task


def require_sound(tasks: Sequence[Task], data_is_here: bool = True) -> list[str]:
    """Look at each network, each file of weights, each choice of settings and all data once.

    Args:
        tasks: What is to be run.
        data_is_here: Whether the images lie on this machine.

    Returns:
        What is worth knowing of weights and data before a training, in sentences.

    Raises:
        UserError: A network does not exist, gives no maps, or cannot be built as a protocol asks; a
            file's weights are not those of its network; an override sets what the config does not
            have; or, where that is sound, data cannot be used. A line for each.
    """
    faults = _without_maps([task.cell for task in tasks])
    sound = [task for task in tasks if task.cell.architecture not in faults]
    files = {(task.cell.architecture, _file(task.cell), task.cell.rename): task for task in sound}
    settings = {_setting(task.cell): task for task in sound if task.cell.overrides}
    unset = {k: fault for k, task in settings.items() if (fault := _fault(_require_settings, task))}
    built = {
        (task.cell.architecture, key): task.cell
        for task in sound
        if (key := _setting(task.cell)) not in unset
    }
    notes: list[str] = []
    found = [
        *faults.values(),
        *(
            _fault(lambda task: notes.extend(_places(task)), task)
            for (_, path, _), task in files.items()
            if path
        ),
        *unset.values(),
        *(_fault(_require_built, cell) for cell in built.values()),
    ]
    _raise_all(found)
    # The data come last: of many images it takes a while.
    return notes + (_look_at_data(tasks) if data_is_here else [])


def _look_at_data(tasks: Sequence[Task]) -> list[str]:
    """What is worth knowing of the data, each once; the sample is drawn by the project."""
    asked = {
        (task.data, task.data_root, task.cell.task): task
        for task in tasks
        if task.data != catalogue.SAMPLE
    }
    notes: list[str] = []
    _raise_all(_fault(lambda one: notes.extend(_notes_on(one)), task) for task in asked.values())
    return notes


def _notes_on(task: Task) -> tuple[str, ...]:
    return require_usable(load_data(task.data, task.data_root), task.cell.task)


def _raise_all(faults: Iterable[str]) -> None:
    """Raise UserError with a line for each fault that is not empty."""
    if told := list(dict.fromkeys(filter(None, faults))):
        raise UserError("\n".join(told))


def require_all_settings(tasks: Sequence[Task]) -> None:
    """See that what the cells of a suite change can be changed.

    Raises:
        UserError: As :func:`transfer.protocols.overrides.require_settings`; a line for each.
    """
    if told := [fault for task in tasks if (fault := _fault(_require_settings, task))]:
        raise UserError("\n".join(dict.fromkeys(told)))


def network_faults(cells: Sequence[Cell]) -> list[str]:
    """A sentence for each network that gives no maps, or cannot be built as a protocol asks."""
    faults = _without_maps(cells)
    built = {
        (cell.architecture, _setting(cell)): cell
        for cell in cells
        if cell.architecture not in faults
    }
    found = [*faults.values(), *(_fault(_require_built, cell) for cell in built.values())]
    return list(dict.fromkeys(filter(None, found)))


def _without_maps(cells: Sequence[Cell]) -> dict[str, str]:
    """By network that gives none, the sentence that tells it."""
    networks = dict.fromkeys(cell.architecture for cell in cells)
    return {network: fault for network in networks if (fault := _fault(require_maps, network))}


def _fault(check: Callable[[Any], object], of: Any) -> str:
    """The sentence of a check that fails; empty for one that passes."""
    try:
        check(of)
    except UserError as error:
        return str(error)
    return ""


def _file(cell: Cell) -> str:
    """The file of a cell's weights; empty where they are fetched, trained or random."""
    source = cell.weights.removeprefix(f"{SHUFFLED}:")
    return "" if is_public(source) or source.startswith(OF_SAMPLE) else source


def _setting(cell: Cell) -> tuple[object, ...]:
    """All of a cell that decides which keys its config has."""
    return cell.task, cell.protocol, cell.data, cell.precision, cell.scratch, cell.overrides


def _places(task: Task) -> list[str]:
    """Where in the file of a cell's weights the network is, if not on top; see that they fit."""
    cell = task.cell
    path = Path(_file(cell))
    try:
        if cell.rename:
            path = renamed(path, cell.architecture, cell.rename, task.row.reference)
        report = weights.match(cell.architecture, weights.read(path, cell.architecture), str(path))
    except UserError as error:
        raise UserError(f"{cell.backbone}: {error}") from error
    where = f"{cell.backbone}: the weights are taken from '{path}', {report.place}."
    return [where] if report.place else []


def _require_built(cell: Cell) -> None:
    """Build what is made of the network, without memory for its weights."""
    for part in network_parts(cell):
        try:
            with torch.device("meta"):
                MODELS.build(part)
        except UserError as error:
            raise UserError(told_of(cell, error)) from error


def _require_settings(task: Task) -> None:
    require_settings(task.cell, load_data(task.data, task.data_root))
