"""Records as rows of plain values for pandas, R and databases: one per run, or class and run.

Every column holds numbers only, text only, or true and false only; a value that is missing is None,
never an empty text. Hashes are prefixed with a name, since one with digits alone would be read as a
number. docs/results.md lists the columns.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from transfer.records import per_image
from transfer.records.records import Record

Value = str | float | int | bool | None
Row = dict[str, Value]

TEXT = frozenset(
    [
        *("run", "task", "data", "data_version", "protocol", "protocol_version", "overrides"),
        *("precision", "backbone", "architecture", "classifier", "baseline", "tricks", "config"),
        *("weights", "top1_on", "metric", "torch", "cpu", "gpu", "finished", "class"),
    ]
)
"""Columns of text."""

WHOLE = frozenset(
    [
        *("seed", "parameters", "multiply_adds_224", "images_seen", "test_images", "batch_size"),
        *("processes", "memory_gpu_bytes", "memory_host_bytes", "gpus"),
    ]
)
"""Columns of whole numbers. ``in_headline`` is true or false; all others are decimal numbers."""


def runs(found: Sequence[Record]) -> list[Row]:
    """One row for each run: what was fine-tuned, how, its metrics over all classes, its cost."""
    metrics = _filled([_overall(record) for record in found])
    return [
        {**_of_cell(record), **_of_run(record), **overall, **_costs(record)}
        for record, overall in zip(found, metrics, strict=True)
    ]


def classes(found: Sequence[Record]) -> list[Row]:
    """One row for each class and run, with the class's metrics in percent."""
    heads, metrics = [], []
    for record in found:
        headline = per_image.headline_classes(record)
        for name, values in _by_class(record).items():
            counts = not headline or name in headline
            heads.append({**_of_cell(record), "class": name, "in_headline": counts})
            metrics.append(values)
    return [{**head, **values} for head, values in zip(heads, _filled(metrics), strict=True)]


def _filled(rows: Sequence[Row]) -> list[Row]:
    """The rows, each with all columns."""
    names = sorted({name for row in rows for name in row})
    return [{name: row.get(name) for name in names} for row in rows]


def _of_cell(record: Record) -> Row:
    cell = record.cell
    overrides = cell.get("overrides") or []
    digest = str(record.content["config"].get("comparable_sha256") or "")
    return {
        "run": record.path.stem,
        "task": cell["task"],
        "data": cell["data"],
        "data_version": f"{cell['data']} {cell['data_fingerprint']}",
        "protocol": cell["protocol"],
        "protocol_version": f"{cell['protocol']} {cell['protocol_version']}",
        "overrides": "; ".join(f"{name} = {json.dumps(value)}" for name, value in overrides)
        or None,
        "precision": cell["precision"],
        "backbone": cell["backbone"],
        "architecture": record.content["classifier"]["architecture"],
        "classifier": cell.get("classifier") or None,
        "seed": cell["seed"],
        "baseline": record.baseline or None,
        "tricks": "; ".join(record.content["classifier"]["tricks"]) or None,
        "config": f"config {digest[:12]}" if digest else None,
    }


def _of_run(record: Record) -> Row:
    classifier, training = record.content["classifier"], record.content["training"]
    return {
        "weights": classifier.get("source") or None,
        "top1": classifier["top1"],
        "top1_on": classifier["top1_on"] or None,
        "parameters": classifier["parameters"],
        "multiply_adds_224": classifier["multiply_adds_224"],
        "images_seen": training["images"]["train"],
        "test_images": training["images"]["test"],
        "batch_size": training.get("batch_size"),
        "learning_rate": training.get("lr"),
        "processes": training.get("processes"),
        "metric": record.metric,
        "value": record.value,
    }


def _overall(record: Record) -> Row:
    metrics = record.content["metrics"]
    return {name: value for name, value in metrics.items() if "/" not in name}


def _costs(record: Record) -> Row:
    content = record.content
    seconds, memory, hardware = (content.get(n) or {} for n in ("seconds", "memory", "hardware"))
    gpus = hardware.get("gpus") or []
    return {
        **{f"seconds_{name}": seconds.get(name) for name in ("start_up", "train", "evaluate")},
        **{f"memory_{name}_bytes": memory.get(name) for name in ("gpu", "host")},
        "side_by_side": content.get("side_by_side"),
        "gpus": len(gpus),
        "gpu": ", ".join(dict.fromkeys(map(str, gpus))) or None,
        "cpu": hardware.get("cpu") or None,
        "torch": (content.get("versions") or {}).get("torch") or None,
        "finished": content.get("finished") or None,
    }


def _by_class(record: Record) -> dict[str, Row]:
    """The metrics of each class, in label order; ``IoU/cat`` is ``IoU`` of ``cat``."""
    known = per_image.classes(record)
    found: dict[str, Row] = {name: {} for name in known}
    for key, value in record.content["metrics"].items():
        metric, slash, name = key.partition("/")
        if slash and (name in found or not known):
            found.setdefault(name, {})[metric] = value
    return {name: values for name, values in found.items() if values}
