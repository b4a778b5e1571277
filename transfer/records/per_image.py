"""The per-image results next to a record, and the classes that they speak of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from transfer.records.outcomes import DetectionOutcomes, SegmentationOutcomes, read
from transfer.records.records import Record

Outcomes = DetectionOutcomes | SegmentationOutcomes


def outcomes(record: Record) -> Outcomes:
    """What a run did on each test image, all classes.

    Raises:
        UserError: The results are missing or malformed.
    """
    return read(record.path.with_suffix(".npz"), record.cell["task"])


def evaluator(record: Record) -> dict[str, Any]:
    """The config of the metric; empty where the record does not tell."""
    return _config(record).get("test_evaluator") or {}


def classes(record: Record) -> list[str]:
    """Names of the classes, in the order of their labels; empty where the record does not tell."""
    return list(_classes(_config(record).get("test_dataloader")))


def headline_classes(record: Record) -> list[str]:
    """The classes that the headline is a mean over; empty for all."""
    names = classes(record)
    return [name for name in evaluator(record).get("headline_classes") or [] if name in names]


def _config(record: Record) -> dict[str, Any]:
    try:
        told = json.loads(record.content["config"]["json"])
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _classes(part: Any) -> Sequence[str]:
    """The classes that a data loader's innermost data set names."""
    if isinstance(part, dict):
        if "metainfo" in part:
            return list(part["metainfo"].get("classes", ()))
        return next((found for value in part.values() if (found := _classes(value))), [])
    if isinstance(part, list):
        return next((found for value in part if (found := _classes(value))), [])
    return []
