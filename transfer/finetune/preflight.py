"""Checks of all cells before the first one starts: networks, weights, settings, data.

Planning imports nothing heavy and cannot check these. Each check takes seconds here; a fault found
after the control's fine-tuning would cost hours.
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
from backbones.weights.preprocessing import require_agreement
from backbones.weights.renamed import renamed
from backbones.weights.safetensors_header import read_own_metadata
from backbones.zoo.entry import IMAGENET_MEAN, IMAGENET_STD
from backbones.zoo.sources import is_public, is_random
from transfer import openmmlab  # noqa: F401  (registers everything, operators first)
from transfer.datasets import catalogue
from transfer.datasets.requirements import require_usable
from transfer.plan.network_faults import fault_of_cell
from transfer.plan.request import load_data
from transfer.plan.sample_classifiers import OF_SAMPLE
from transfer.protocols.compose import compose, network_parts
from transfer.protocols.overrides import require_settings
from transfer.protocols.trial import require_working
from transfer.records.cells import SHUFFLED, Cell, Task


def require_sound(tasks: Sequence[Task], data_is_here: bool = True) -> list[str]:
    """Check each network, weight file, set of settings and data set once.

    Args:
        tasks: The cells to run.
        data_is_here: Whether the images are on this machine.

    Returns:
        Remarks on weights and data sets, in sentences.

    Raises:
        UserError: A network does not exist, gives no feature maps, or does not fit its protocol; a
            file's weights do not fit its network or its row; an override sets an unknown key; or,
            if all of this is sound, a data set is unusable. One line for each fault.
    """
    faults = _without_maps([task.cell for task in tasks])
    sound = [task for task in tasks if task.cell.architecture not in faults]
    files = {
        (task.cell.architecture, path, task.cell.rename, task.row.mean, task.row.std): task
        for task in sound
        if (path := _file(task.cell))
    }
    settings = {_setting(task.cell): task for task in sound if task.cell.overrides}
    unset = {k: fault for k, task in settings.items() if (fault := _fault(_require_settings, task))}
    built = {
        (task.cell.architecture, key): task
        for task in sound
        if (key := _setting(task.cell)) not in unset
    }
    notes: list[str] = []
    found = [
        *faults.values(),
        *(
            _fault(lambda task: notes.extend(_notes_on_weights(task)), task)
            for task in files.values()
        ),
        *unset.values(),
        *(
            _fault(_require_working, task)
            if task.cell.protocol_config and data_is_here
            else _fault(_require_built, task.cell)
            for task in built.values()
        ),
    ]
    _raise_all(found)
    # The data come last: of many images it takes a while.
    return notes + (_look_at_data(tasks) if data_is_here else [])


def _look_at_data(tasks: Sequence[Task]) -> list[str]:
    """Remarks on each data set; the sample is drawn by the project and not checked."""
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
    """Raise UserError with a line for each non-empty fault."""
    if found := list(dict.fromkeys(filter(None, faults))):
        raise UserError("\n".join(found))


def require_all_settings(tasks: Sequence[Task]) -> None:
    """Check that the overrides of a suite's cells are valid.

    Raises:
        UserError: As :func:`transfer.protocols.overrides.require_settings`; one line for each.
    """
    if found := [fault for task in tasks if (fault := _fault(_require_settings, task))]:
        raise UserError("\n".join(dict.fromkeys(found)))


def network_faults(cells: Sequence[Cell]) -> list[str]:
    """A sentence for each network that gives no feature maps or does not fit its protocol."""
    faults = _without_maps(cells)
    built = {
        (cell.architecture, _setting(cell)): cell
        for cell in cells
        if cell.architecture not in faults
    }
    found = [*faults.values(), *(_fault(_require_built, cell) for cell in built.values())]
    return list(dict.fromkeys(filter(None, found)))


def _without_maps(cells: Sequence[Cell]) -> dict[str, str]:
    """The error message of each network that gives no feature maps."""
    networks = dict.fromkeys(cell.architecture for cell in cells)
    return {network: fault for network in networks if (fault := _fault(require_maps, network))}


def _fault(check: Callable[[Any], object], of: Any) -> str:
    """The message of a check that fails; empty if it passes."""
    try:
        check(of)
    except UserError as error:
        return str(error)
    return ""


def _file(cell: Cell) -> str:
    """The file of a cell's weights; empty if they are downloaded, trained or random."""
    source = cell.weights.removeprefix(f"{SHUFFLED}:")
    elsewhere = is_public(source) or is_random(source) or source.startswith(OF_SAMPLE)
    return "" if elsewhere else source


def _setting(cell: Cell) -> tuple[object, ...]:
    """Everything in a cell that determines the keys of its config."""
    return cell.task, cell.protocol, cell.data, cell.precision, cell.scratch, cell.overrides


def _notes_on_weights(task: Task) -> list[str]:
    """Where in its file a network is, if not on top, and what is not used; see that they fit."""
    cell = task.cell
    path = Path(_file(cell))
    try:
        report = weights.match(
            cell.architecture, weights.read(path, cell.architecture, cell.rename), str(path)
        )
        if cell.rename:
            renamed(path, cell.architecture, cell.rename, task.row.reference)
        else:
            require_agreement(task.row, read_own_metadata(path), str(path))
    except UserError as error:
        raise UserError(f"{cell.backbone}: {error}") from error
    notes = []
    if report.place:
        notes.append(f"the weights are taken from '{path}', {report.place}.")
    if dropped := report.dropped():
        notes.append(f"'{cell.architecture}' has no place for {dropped} in '{path}': not used.")
    return [f"{cell.backbone}: {note}" for note in notes]


def _require_built(cell: Cell) -> None:
    """Build the network's parts of the config, without allocating weights."""
    for part in network_parts(cell):
        try:
            with torch.device("meta"):
                MODELS.build(part)
        except UserError as error:
            raise UserError(fault_of_cell(cell, error)) from error


def _require_working(task: Task) -> None:
    """Try out a protocol of the user's own with the task's network and data."""
    cell, mean, std = task.cell, IMAGENET_MEAN, IMAGENET_STD
    data = load_data(task.data, task.data_root)
    cfg = compose(cell, data, weights="", mean=mean, std=std)
    require_working(cfg, cell.protocol, cell.backbone)


def _require_settings(task: Task) -> None:
    require_settings(task.cell, load_data(task.data, task.data_root))
