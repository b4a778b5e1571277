"""Which records are comparable: one setting, one model per row, one training, each run once."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from backbones.common.errors import UserError
from backbones.common.escape import one_line
from transfer.records import settings
from transfer.records.records import UNKNOWN, Record, compared, measure

RANDOM = "random"
"""The classifier of a run from random weights."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The setting that all rows of a table share.

    Attributes:
        task: ``"detection"`` or ``"segmentation"``.
        data: Name of the data set.
        data_fingerprint: Hash of its lists of images.
        protocol: Name of the protocol.
        protocol_version: Hash of its content.
        precision: ``"float32"`` or ``"bfloat16"``.
        metric: The headline metric.
        overrides: Further settings of the config, as JSON.
        form: Form of average precision; see :attr:`Record.form`.
        variant: A suite's name for its overrides, which distinguishes nothing.
    """

    task: str
    data: str
    data_fingerprint: str
    protocol: str
    protocol_version: str
    precision: str
    metric: str
    overrides: str = "[]"
    form: str = ""
    variant: str = field(default="", compare=False, repr=False)

    @property
    def measure(self) -> str:
        """The headline metric in full, such as ``mAP (11-point, IoU .5)``."""
        return measure(self.metric, self.form)

    @property
    def title(self) -> str:
        """The table's title."""
        text = f"{self.task.capitalize()} on {self.data}, protocol {self.protocol}"
        sample = " (SAMPLE: drawn images, not VOC or ADE20K)" if self.data == "sample" else ""
        changed = "".join(f", {one}" for one in self.changes)
        return f"{text}, {self.precision}{changed}{sample}"

    @property
    def changes(self) -> list[str]:
        """What the suite changes in the protocol, in words for a title."""
        return settings.in_title(json.loads(self.overrides), self.variant)

    @property
    def order(self) -> tuple[Any, ...]:
        """A key that sorts settings: by their names, and by the values of overridden numbers."""
        changed = [(name, _by_value(value)) for name, value in json.loads(self.overrides)]
        names = (self.task, self.data, self.data_fingerprint, self.protocol, self.protocol_version)
        return *names, self.precision, self.metric, changed, self.form

    @classmethod
    def of(cls, record: Record) -> Setting:
        """The setting of a record."""
        cell = record.cell
        names = (
            "task",
            "data",
            "data_fingerprint",
            "protocol",
            "protocol_version",
            "precision",
        )
        overrides = json.dumps(cell.get("overrides", []))
        return cls(
            **{name: cell[name] for name in names},
            metric=record.metric,
            overrides=overrides,
            form=record.form,
            variant=one_line(str(record.content.get("variant") or "")),
        )


def _by_value(value: Any) -> tuple[float, str]:
    """Sorts numbers by value and before anything else, which is sorted as text."""
    is_number = isinstance(value, int | float)
    return (float(value), "") if is_number else (math.inf, json.dumps(value))


def classifier(record: Record) -> str:
    """The identity of the fine-tuned weights."""
    return record.content["classifier"]["sha256"] or RANDOM


def digest_of_run(record: Record) -> str:
    """Hash of the source of an imported record; empty for our own."""
    imported = record.content.get("imported")
    return str(imported.get("sha256", "")) if isinstance(imported, dict) else ""


def of_one_model(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """The records of each row's newest model, and a sentence about the others.

    A row may have several classifiers of one network with one preprocessing, or none: then every
    run draws its own weights. If a user's file described another model before, its records are not
    averaged with the new ones.
    """
    newest: dict[str, dict[str, tuple[Any, Record]]] = {}  # by row and trait
    usable: list[Record] = []
    others: dict[tuple[str, str], list[Record]] = {}  # by row and difference
    for record in sorted(records, key=_finished, reverse=True):
        row = record.cell["backbone"]
        model, known = _model(record), newest.setdefault(row, {})
        other = next((t for t in model if t in known and model[t] != known[t][0]), None)
        if other is None:
            usable.append(record)
            newest[row] = {t: (v, record) for t, v in model.items()} | known
        else:
            value, first = known[other]
            reason = f"{other} {model[other]}, the newest record ({first.path.name}) has {value}"
            others.setdefault((row, reason), []).append(record)
    kept = {id(record) for record in usable}
    sentences = [
        f"{_named(row, group)} belongs to another model: it has {reason}; give each model's file "
        "its own name."
        for (row, reason), group in others.items()
    ]
    return [record for record in records if id(record) in kept], sentences


def _model(record: Record) -> dict[str, Any]:
    """The traits that all records of a row share, if known; imported runs may lack them."""
    traits = record.content["classifier"]
    kind = "random" if classifier(record) == RANDOM else "trained"
    model: dict[str, Any] = {"weights of the kind": f"'{kind}'"}
    if traits["architecture"] != UNKNOWN:
        model["the architecture"] = traits["architecture"]
    for name in ("mean", "std"):
        values = traits.get(name)
        if isinstance(values, list) and all(isinstance(value, int | float) for value in values):
            # 0 to 255; files of one model may round differently
            model[f"the {name}"] = [round(value, 2) for value in values]
    return model


def _finished(record: Record) -> str:
    return str(record.content.get("finished", ""))


def _named(row: str, records: Sequence[Record]) -> str:
    more = f" and {len(records) - 1} more" if len(records) > 1 else ""
    return f"{row} ({records[0].path.name}{more})"


def comparable(records: Sequence[Record], baseline: str) -> tuple[list[Record], list[str]]:
    """Records trained alike except for the backbone; the baseline's majority decides."""
    of_baseline = [record for record in records if record.cell["backbone"] == baseline]
    times = Counter(map(_trained, of_baseline))
    reference = max(of_baseline or records[:1], key=lambda r: (times[_trained(r)], _finished(r)))
    wanted = _trained(reference)
    usable: list[Record] = []
    others: dict[tuple[str, Any], list[Record]] = {}  # by row and training
    for record in records:
        trained = _trained(record)
        if _are_alike(trained, wanted):
            usable.append(record)
        else:
            others.setdefault((record.cell["backbone"], trained), []).append(record)
    return usable, [_refusal(reference, group) for group in others.values()]


def _trained(record: Record) -> tuple[str, int | None, float | None]:
    """The config, the global batch size, and the learning rate.

    None for what is unknown: an imported run has no learning rate, and its log the batch size.
    """
    training = record.content["training"]
    return record.comparable, training.get("batch_size"), training.get("lr")


def _are_alike(one: Sequence[Any], other: Sequence[Any]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(a is None or b is None or a == b for a, b in pairs)


def _refusal(reference: Record, records: Sequence[Record]) -> str:
    """Why records that were fine-tuned differently are not in the table."""
    first = records[0]
    try:
        difference = _first_difference(_rest(reference), _rest(first))
    except UserError as error:
        difference = str(error)
    (config, batch, lr), (wanted, own_batch, own_lr) = _trained(first), _trained(reference)
    if config == wanted:
        rate, own_rate = (
            (f" and learning rate {lr}", f" and {own_lr}") if lr and own_lr else ("", "")
        )
        difference = (
            f"global batch size {batch}{rate}, the baseline has {own_batch}{own_rate}; both need "
            "the same number of processes."
        )
    row = first.cell["backbone"]
    return f"{_named(row, records)} was fine-tuned differently: {difference}"


def once(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Each fine-tuning once: its first record by name."""
    kept: dict[tuple[str, str, int], Record] = {}
    runs: dict[str, Record] = {}
    repeated = []
    for record in records:
        digest = digest_of_run(record)
        if digest and (first := runs.setdefault(digest, record)) is not record:
            repeated.append(
                f"{record.path.name} was imported from the same run as {first.path.name}; each run "
                "counts once, so remove one of them."
            )
            continue
        key = (record.cell["backbone"], classifier(record), record.cell["seed"])
        first = kept.setdefault(key, record)
        if first is not record:
            repeated.append(
                f"{record.path.name} has the same row, classifier and seed as "
                f"{first.path.name}; each run counts once, so remove one of them."
            )
    return list(kept.values()), repeated


def _rest(record: Record) -> dict[str, Any]:
    try:
        return compared(record.config)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"The record '{record.path}' has no readable config.") from error


def _first_difference(left: Any, right: Any, place: str = "") -> str:
    """Where two trees first differ, as ``model.neck.out_channels is 256 here, 128 there``."""
    if left == right:
        return "its config's text equals the baseline's, but its hash differs."
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            if left.get(key) != right.get(key):
                return _first_difference(left.get(key), right.get(key), f"{place}.{key}".strip("."))
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            if one != other:
                return _first_difference(one, other, f"{place}.{index}")
    return f"{place} is {right!r}, in the baseline {left!r}."
