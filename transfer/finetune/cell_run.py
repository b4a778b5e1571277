"""Runs a cell: its classifier, its fine-tuning, its record."""

from __future__ import annotations

import tempfile
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from backbones.common.atomic_write import write_atomically
from backbones.common.errors import Untrusted, UserError
from backbones.common.versions import versions
from backbones.runtime import ranks, state_files, stopping, storage
from backbones.runtime.memory import PeakMemory
from backbones.runtime.progress import Listener, notifier
from transfer import openmmlab  # noqa: F401  (registers everything, operators first)
from transfer.datasets.data_set import DataSet
from transfer.datasets.requirements import require_large_boxes, require_usable
from transfer.finetune import classifiers
from transfer.finetune.finetune import Outcome, finetune
from transfer.plan.request import load_data
from transfer.protocols import compose
from transfer.protocols.protocols import HEADLINE
from transfer.records import provenance, records
from transfer.records.cells import Task
from transfer.records.lease import Leases, owned_together
from transfer.records.shared_card import COMPANY


def run_cell(task: Task, listener: Listener | None = None) -> Path:
    """Fine-tune a cell and write its record.

    Args:
        task: The cell to run, with its places.
        listener: Notified of every step.

    Returns:
        The record's file.

    Raises:
        UserError: The run failed; nothing was recorded.
        Interrupted: The training was asked to stop; its checkpoint is saved.
        Superseded: Another driver has taken the cell; nothing was written after that.
    """
    ranks.on_each_machine(lambda: _make_folder(task.place))
    path = records.path_of(task.results, task.cell)
    # The driver owns the cell in the results folder; another may use this work folder too.
    leases = Leases(task.work_leases)
    with owned_together(leases, task.name, path.exists, notifier(listener)) as ours:
        if ours:
            _run(task, path, listener)
    return path


def _run(task: Task, path: Path, listener: Listener | None) -> None:
    """Fine-tune, and write the record to ``path``."""
    started = datetime.now(timezone.utc)
    cell, place = task.cell, task.place
    ranks.on_each_machine(lambda: _look_at_data(task, listener))
    data = load_data(task.data, task.data_root)
    ready = classifiers.prepare(cell, task.row, listener)
    outcomes = place / "outcomes.npz"
    cfg = compose.compose(
        cell, data, weights=ready.path, mean=ready.mean, std=ready.std, outcomes=outcomes
    )
    if cell.task == "detection":
        ranks.on_each_machine(lambda: require_large_boxes(data, compose.smallest_box(cfg)))
    config = compose.resolved(cfg)  # MMDetection changes it while it builds the model
    memory = PeakMemory()
    try:
        outcome = finetune(
            cfg,
            cell.id,
            place,
            save_minutes=task.save_minutes,
            state_copy=task.state_copy,
            evaluate_every=task.evaluate_every,
            listener=listener,
            backends=task.backends,
        )
    except Untrusted:
        if not stopping.superseded(look=True):
            _remove_checkpoints(task)
        raise
    metric = HEADLINE[cell.task]
    if not outcome.metrics[metric] == outcome.metrics[metric]:
        raise UserError(
            f"{cell.name}: the {metric} is not a number because no class of the headline occurs "
            "in the "
            "test set."
        )
    content = _content(
        task, data=data, ready=ready, config=config, outcome=outcome, started=started
    )
    content["memory"] = memory.peaks()
    content["side_by_side"] = round(COMPANY.mean(), 2)
    ranks.on_main(lambda: _write(task, path, content, outcomes))


def _look_at_data(task: Task, listener: Listener | None) -> None:
    drawn = partial(listener, "draw the sample") if listener else None
    require_usable(load_data(task.data, task.data_root, drawn), task.cell.task)


def _write(task: Task, path: Path, content: dict[str, Any], outcomes: Path) -> None:
    """Write the record last, after the files beside it.

    Raises:
        UserError: The disk is not writable.
        Superseded: Another driver has taken the cell; nothing is written.
    """
    stopping.require_ours()
    write_atomically(path.with_suffix(".npz"), outcomes.read_bytes())
    records.write(path, content)
    _remove_checkpoints(task)  # not earlier: the disk may be full


def _remove_checkpoints(task: Task) -> None:
    """Remove the checkpoints, the local ones last, so that an interruption can be repeated."""
    if task.state_copy:
        storage.forget(task.state_copy)
    state_files.forget(task.place / state_files.FOLDER)


def _make_folder(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise UserError(
            f"The work folder '{place}' is not writable ({error.strerror}); choose another with "
            "--work-dir."
        ) from error


def _content(
    task: Task,
    *,
    data: DataSet,
    ready: classifiers.Ready,
    config: dict[str, Any],
    outcome: Outcome,
    started: datetime,
) -> dict[str, Any]:
    cell = task.cell
    metric = HEADLINE[cell.task]
    train_seconds = outcome.seconds["train"]
    return {
        "schema": records.SCHEMA,
        "cell": {
            **cell.plain(),
            "weights": records.public_name(cell.weights),
            "id": cell.id,
        },
        "baseline": task.baseline,
        "variant": task.variant,
        "headline": {"metric": metric, "value": outcome.metrics[metric]},
        "metrics": _finite(outcome.metrics),
        "curve": outcome.curve,
        "evaluations": [_finite(point) for point in outcome.evaluations],
        "classifier": ready.provenance,
        "data": {"name": cell.data, "title": data.title, "fingerprint": cell.data_fingerprint},
        "config": records.config_entry(config),
        "training": {
            "lr": outcome.lr,
            "batch_size": outcome.batch_size,
            "processes": outcome.processes,
            "images": outcome.images,
        },
        "seconds": outcome.seconds,
        "images_per_second": {
            "train": outcome.images["train"] / max(train_seconds, 1e-9),
            "evaluate": outcome.images["test"] / max(outcome.seconds["evaluate"], 1e-9),
        },
        "versions": versions(),
        "hardware": provenance.machine(),
        "git": provenance.git_state(),
        "command": task.command,
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _finite(metrics: dict[str, float]) -> dict[str, float | None]:
    """Drop NaN, which JSON lacks: the figures of classes that do not occur."""
    return {name: value if value == value else None for name, value in metrics.items()}
