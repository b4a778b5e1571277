"""Records as rows of plain values for pandas, R and databases: one per run, or class and run.

Every column holds numbers only or text only, or nothing. Hashes are prefixed with a name, since one
with digits alone would be read as a number.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from transfer.records import per_image
from transfer.records.records import Record

Value = str | float | int | bool | None
Row = dict[str, Value]


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
    return {
        "run": record.path.stem,
        "task": cell["task"],
        "data": cell["data"],
        "data_version": f"{cell['data']} {cell['data_fingerprint']}",
        "protocol": cell["protocol"],
        "protocol_version": f"{cell['protocol']} {cell['protocol_version']}",
        "overrides": "; ".join(f"{name} = {json.dumps(value)}" for name, value in overrides),
        "precision": cell["precision"],
        "backbone": cell["backbone"],
        "architecture": record.content["classifier"]["architecture"],
        "classifier": cell.get("classifier"),
        "seed": cell["seed"],
    }


def _of_run(record: Record) -> Row:
    classifier, training = record.content["classifier"], record.content["training"]
    return {
        "baseline": record.baseline,
        "weights": classifier.get("source"),
        "tricks": "; ".join(classifier["tricks"]),
        "top1": classifier["top1"],
        "top1_on": classifier["top1_on"],
        "parameters": classifier["parameters"],
        "multiply_adds_224": classifier["multiply_adds_224"],
        "training_images": training["images"]["train"],
        "test_images": training["images"]["test"],
        "batch_size": training.get("batch_size"),
        "learning_rate": training.get("lr"),
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
        "gpus": len(gpus),
        "cpu": hardware.get("cpu"),
        "finished": content.get("finished"),
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
