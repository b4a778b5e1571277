"""Per-image results beside a record, and the classes in them."""

from __future__ import annotations

from typing import Any

from backbones.common.errors import UserError
from transfer.records.outcomes import DetectionOutcomes, SegmentationOutcomes, read
from transfer.records.records import Record

Outcomes = DetectionOutcomes | SegmentationOutcomes


def outcomes(record: Record) -> Outcomes:
    """Read a run's results on each test image, for all classes.

    Raises:
        UserError: The results are missing, malformed, or for another number of classes.
    """
    path = record.path.with_suffix(".npz")
    found = read(path, record.cell["task"])
    names = classes(record)
    of_classes = found.positives if isinstance(found, DetectionOutcomes) else found.labelled
    if names and of_classes.shape[1] != len(names):
        raise UserError(
            f"'{path.absolute()}' has results for {of_classes.shape[1]} classes, but its record "
            f"has {len(names)}."
        )
    return found


def evaluator(record: Record) -> dict[str, Any]:
    """The config of the metric; empty if not recorded."""
    found = record.config.get("val_evaluator")
    return found if isinstance(found, dict) else {}


def classes(record: Record) -> list[str]:
    """Names of the classes, in label order; empty if not recorded."""
    return _classes(record.config.get("val_dataloader"))


def headline_classes(record: Record) -> list[str]:
    """The classes in the headline; empty for all."""
    names = classes(record)
    return [name for name in _names(evaluator(record).get("headline_classes")) if name in names]


def _classes(part: Any) -> list[str]:
    """The classes that a data loader's innermost data set names."""
    if isinstance(part, dict):
        if "metainfo" in part:
            about = part["metainfo"]
            return _names(about.get("classes")) if isinstance(about, dict) else []
        part = list(part.values())
    if isinstance(part, list):
        return next((found for value in part if (found := _classes(value))), [])
    return []


def _names(found: Any) -> list[str]:
    """A list of names; empty if the value is something else."""
    fits = isinstance(found, list) and all(isinstance(name, str) for name in found)
    return found if fits else []
