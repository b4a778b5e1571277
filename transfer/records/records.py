"""Records: one JSON file for each finished cell, written once and atomically."""

from __future__ import annotations

import gc
import hashlib
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import EllipsisType
from typing import Any

from backbones.common.atomic_write import write_atomically
from backbones.common.errors import UserError
from backbones.common.escape import brief
from backbones.common.json_file import parse_json, read_json
from backbones.common.regular_file import UnfitFile, is_hidden
from transfer.records.cells import Cell

SCHEMA = 1
UNKNOWN = "unknown"
"""Value in imported records for what their run does not record."""

_REQUIRED = {"schema", "cell", "metrics", "headline", "classifier", "config", "versions"}
_NUMBER = (int, float)
_NONE = (type(None),)
_PERHAPS = (EllipsisType,)  # missing in older and imported records
_PERCENT = (0.0, 100.0)
_PERCENTAGES = ("AP", "IoU", "mAP", "mIoU", "pixAcc")
"""The names of metrics in percent, up to their form and class."""
_COUNT = (0.0, math.inf)

_Form = tuple[tuple[type, ...], float, float]


def _form(*types: type, of: tuple[float, float] = (-math.inf, math.inf)) -> _Form:
    return types, *of


_SHAPE: dict[str, _Form] = {
    **{
        f"cell.{name}": _form(str)
        for name in (
            "backbone",
            "task",
            "data",
            "data_fingerprint",
            "protocol",
            "protocol_version",
            "precision",
        )
    },
    "cell.seed": _form(int, of=_COUNT),
    "headline.metric": _form(str),
    "headline.value": _form(*_NUMBER, of=_PERCENT),
    "metrics": _form(dict),
    "classifier.architecture": _form(str),
    "classifier.sha256": _form(str),
    "classifier.tricks": _form(list),
    "classifier.top1": _form(*_NUMBER, *_NONE, of=_PERCENT),
    "classifier.top1_on": _form(str),
    "classifier.parameters": _form(int, of=_COUNT),
    "classifier.multiply_adds_224": _form(int, of=_COUNT),
    "config.json": _form(str),
    "config.comparable_sha256": _form(str),
    "training.images.train": _form(int, of=_COUNT),
    "training.images.test": _form(int, of=_COUNT),
    "curve": _form(list),
    "baseline": _form(str, *_PERHAPS),
    "cell.overrides": _form(list, *_PERHAPS),
    "training.batch_size": _form(int, *_NONE, *_PERHAPS, of=_COUNT),
    "training.lr": _form(*_NUMBER, *_NONE, *_PERHAPS, of=_COUNT),
    "classifier.source": _form(str, *_PERHAPS),
    "classifier.near": _form(str, *_PERHAPS),
    "classifier.recipe": _form(dict, *_NONE, *_PERHAPS),
    "seconds": _form(dict, *_PERHAPS),
    "memory": _form(dict, *_PERHAPS),
    "side_by_side": _form(*_NUMBER, *_PERHAPS, of=_COUNT),
    "hardware": _form(dict, *_PERHAPS),
    "hardware.gpus": _form(list, *_NONE, *_PERHAPS),
    "classifier.training": _form(dict, *_NONE, *_PERHAPS),
    "classifier.training.seconds": _form(*_NUMBER, *_PERHAPS, of=_COUNT),
}
"""The entries that tables, pages and estimates read: their place in a record, JSON types, and
bounds of numbers."""

_ELEMENTS: dict[str, tuple[type, ...]] = {
    "metrics": (*_NUMBER, type(None)),
    "classifier.tricks": (str,),
    "cell.overrides": (list,),
    "seconds": _NUMBER,
    "memory": _NUMBER,
}
"""The type of the elements of lists and tables."""


@dataclass(frozen=True)
class Record:
    """A record as read from its file.

    Attributes:
        path: Its file.
        content: The whole JSON.
    """

    path: Path
    content: dict[str, Any]

    @property
    def cell(self) -> dict[str, Any]:
        """The cell; see :class:`transfer.records.cells.Cell`."""
        return self.content["cell"]

    @property
    def metric(self) -> str:
        """Name of the headline metric."""
        return self.content["headline"]["metric"]

    @cached_property
    def form(self) -> str:
        """Form of a detector's average precision, as in its config; empty for other tasks."""
        if self.cell["task"] != "detection":
            return ""
        found = _FORM.search(str(self.content["config"].get("json", "")))
        return found[1] if found else ""

    @property
    def measure(self) -> str:
        """The headline metric in full, such as ``mAP (11-point, IoU .5)``."""
        return measure(self.metric, self.form)

    @property
    def value(self) -> float:
        """The headline metric in percent."""
        return self.content["headline"]["value"]

    @cached_property
    def comparable(self) -> str:
        """Hash of everything that all rows of a table must share; see :func:`config_entry`.

        Older records of a detector whose head is the classifier's last stage included that stage.
        """
        config = self.content["config"]
        text = str(config.get("json", ""))
        if '"shared_head"' in text:
            with suppress(ValueError, KeyError, AttributeError, TypeError):
                return _comparable_sha256(json.loads(text))
        return config["comparable_sha256"]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved config, parsed from text that is not trusted."""
        return parse_json(self.content["config"]["json"])

    @property
    def baseline(self) -> str:
        """Row that its run computed gains against; empty if not recorded."""
        return self.content.get("baseline", "")


_FORM = re.compile(r'"form": "(11points|area|coco)"')
_FORMS = {"11points": "11-point, IoU .5", "area": "area, IoU .5", "coco": "COCO, IoU .5 to .95"}


def measure(metric: str, form: str) -> str:
    """A metric with its form, which distinguishes it from others of the same name.

    Args:
        metric: Such as ``mAP``.
        form: ``11points``, ``area``, ``coco``, or empty if there is only one or it is unknown.
    """
    return f"{metric} ({_FORMS[form]})" if form else metric


_OF_LAST_STAGE = (
    ("rpn_head", "in_channels"),
    ("roi_head.bbox_roi_extractor", "out_channels"),
    ("roi_head.bbox_head", "in_channels"),
)
"""Settings for the channels next to a classifier's last stage, if that is a head."""


def config_entry(resolved: dict[str, Any]) -> dict[str, str]:
    """A resolved config as stored in a record.

    ``json`` is the whole config; ``comparable_sha256`` is the hash of everything that all rows of a
    table must share: all but the backbone, its preprocessing, the seed, and what only saves time.
    """
    text = json.dumps(resolved, sort_keys=True)
    return {
        "json": text,
        "sha256": _sha256(text),
        "comparable_sha256": _comparable_sha256(resolved),
    }


def _comparable_sha256(resolved: dict[str, Any]) -> str:
    return _sha256(json.dumps(compared(resolved), sort_keys=True))


def public_name(weights: str) -> str:
    """The source of weights without this machine's folders, since records travel."""
    scheme, colon, path = weights.rpartition(":")
    if not path.startswith("/") or path.startswith("//"):
        return weights
    return scheme + colon + Path(path).name


def compared(resolved: dict[str, Any]) -> dict[str, Any]:
    """The parts of a config that all rows of a table must share.

    Without the backbone, the channels next to it, the seed, and what only saves time.
    """
    rest = json.loads(json.dumps(resolved))
    model = rest["model"]
    model.pop("backbone")
    for name in ("mean", "std"):
        model["data_preprocessor"].pop(name, None)
    for part in _next_to_backbone(model):
        part.pop("in_channels", None)
        part.pop("c1_in_channels", None)
    roi_head = model.get("roi_head")
    if isinstance(roi_head, dict):
        # MMDetection sets these while it builds the detector, after which older records were made.
        for name in ("train_cfg", "test_cfg"):
            if (settings := _at(model, f"{name}.rcnn")) is not ...:
                roi_head[name] = settings
    if isinstance(roi_head, dict) and isinstance(last := roi_head.get("shared_head"), dict):
        # The classifier's last stage: only the class that makes a head of it is the protocol's.
        roi_head["shared_head"] = {"type": last.get("type")}
        for place, name in _OF_LAST_STAGE:
            if isinstance(part := _at(model, place), dict):
                part.pop(name, None)
    if isinstance(hooks := rest.get("custom_hooks"), list):
        rest["custom_hooks"] = [kept for hook in hooks for kept in _counted(hook, rest)]
    rest.pop("randomness", None)
    return rest


def _next_to_backbone(model: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of a model that may take the backbone's maps."""
    names = ["neck", "decode_head", "auxiliary_head"]
    if not model.get("neck") and "roi_head" not in model:
        names.append("bbox_head")
    for name in names:
        part = model.get(name)
        for one in part if isinstance(part, list) else [part]:
            if isinstance(one, dict):
                yield one
                yield from (inner for inner in one.values() if _selects_maps(inner))


def _selects_maps(part: Any) -> bool:
    return isinstance(part, dict) and "in_index" in part


_UNCOUNTED = (
    *("FusedSgd", "GraphedFeatures", "GroupedNms", "HostSampling", "NoBenchmarkInEvaluation"),
    *("NonBlockingInputs", "PointwiseProducts", "SparseRpnGradients", "WinogradConvolutions"),
)
"""Hooks of older records that only save time. Published hashes include three more."""


def _counted(hook: Any, config: dict[str, Any]) -> list[Any]:
    """The substitute for a hook in published hashes: for ``Speed``, its former parts."""
    kind = hook.get("type") if isinstance(hook, dict) else None
    if kind in _UNCOUNTED:
        return []
    if kind != "Speed":
        return [hook]
    wrapper = config.get("optim_wrapper")
    in_bfloat16 = isinstance(wrapper, dict) and wrapper.get("type") == "Bfloat16OptimWrapper"
    parts = {
        "SparseRoIExtraction": config.get("default_scope") == "mmdet",
        "FusedSegmentationLoss": config.get("default_scope") == "mmseg",
        "ChannelsLast": in_bfloat16,
    }
    left_out = hook.get("without") or ()
    return [{"type": name} for name, counts in parts.items() if counts and name not in left_out]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def folder(results: Path, data: str) -> Path:
    """The folder of a data set's records; the sample's is one that git ignores."""
    return results / data / "records" if data == "sample" else results / "records"


def path_of(results: Path, cell: Cell) -> Path:
    """The file of a cell's record."""
    return folder(results, cell.data) / f"{cell.stem}.json"


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a record atomically.

    Raises:
        UserError: The folder is not writable.
    """
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    write_atomically(path, text.encode())


def read(path: Path) -> Record:
    """Read one record.

    Raises:
        UserError: It is not a complete record of this project.
    """
    try:
        content = read_json(path)
    except OSError as error:
        raise UserError(f"The record '{path}' cannot be read ({error.strerror}).") from error
    except UnfitFile as error:
        raise UserError(
            f"The record '{path}' cannot be read: it {error.reason}; remove it and repeat its run "
            "again."
        ) from error
    missing = _REQUIRED - content.keys() if isinstance(content, dict) else _REQUIRED
    if missing:
        raise UserError(
            f"'{path}' is not a record of this project: it lacks {', '.join(sorted(missing))}."
        )
    if content["schema"] != SCHEMA:
        raise UserError(
            f"The record '{path}' has schema {content['schema']!r}, but this version reads "
            f"{SCHEMA}."
        )
    wrong = [
        place
        for place, (types, least, most) in _SHAPE.items()
        if not _fits(_at(content, place), types, least, most)
    ]
    wrong = wrong or _of_wrong_elements(content) or _of_wrong_config(content)
    if wrong:
        raise UserError(
            f"The record '{path}' is malformed: {', '.join(wrong)} missing, out of range or of "
            "another type; remove it and repeat its run."
        )
    return Record(path, content)


def _fits(value: Any, types: tuple[type, ...], least: float, most: float) -> bool:
    """Whether a value has one of the types and, as a number, is within its bounds."""
    if type(value) not in types:  # True is not a number, though Python treats it as one
        return False
    return not isinstance(value, int | float) or least <= value <= most


def _of_wrong_elements(content: dict[str, Any]) -> list[str]:
    """Lists and tables with elements of another type."""
    wrong = []
    for place, types in _ELEMENTS.items():
        found = _at(content, place)
        elements = [] if found is ... else found.values() if isinstance(found, dict) else found
        if not all(type(element) in types for element in elements):
            wrong.append(place)
        elif place == "metrics":
            wrong += [f"metrics.{name}" for name, value in found.items() if _is_off(name, value)]
    pairs = _at(content, "cell.overrides")
    if not wrong and pairs is not ... and not all(map(_is_override, pairs)):
        wrong.append("cell.overrides")
    return wrong


def _is_off(name: str, value: float | None) -> bool:
    """Whether a percentage is below 0 or above 100; an imported run may have other metrics."""
    is_percentage = re.split("[_/]", name)[0] in _PERCENTAGES
    return is_percentage and value is not None and not _fits(value, _NUMBER, *_PERCENT)


def _is_override(pair: list[Any]) -> bool:
    return len(pair) == 2 and isinstance(pair[0], str)


def _of_wrong_config(content: dict[str, Any]) -> list[str]:
    """A config that is not a table; an imported run may have none."""
    try:
        config = parse_json(content["config"]["json"])
    except ValueError as error:
        return [f"config.json ({brief(error)})"]
    return [] if isinstance(config, dict) else ["config.json"]


def _at(content: Any, place: str) -> Any:
    """The value at ``a.b.c``; ``...`` if there is none."""
    for key in place.split("."):
        content = content.get(key, ...) if isinstance(content, dict) else ...
    return content


def read_all(results: Path, data: str) -> tuple[list[Record], list[str]]:
    """Every readable record of a results folder, and a sentence for each unreadable one.

    Raises:
        UserError: As :func:`files`.
    """
    good, bad = [], []
    with _no_garbage_collection():
        for path in files(folder(results, data)):
            try:
                good.append(read(path))
            except UserError as error:
                bad.append(str(error))
    return good, bad


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pause garbage collection: JSON has no cycles, and looking for them takes half the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()  # records stay, so later collections need not visit them
        if enabled:
            gc.enable()


def files(place: Path) -> list[Path]:
    """A folder's records, ordered by name; empty without the folder.

    Raises:
        UserError: The folder cannot be read.
    """
    try:
        return sorted(path for path in place.glob("*.json") if not is_hidden(path))
    except OSError as error:
        raise UserError(f"The folder '{place}' cannot be read ({error.strerror}).") from error
