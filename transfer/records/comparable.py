"""Which records may be compared: one setting, one model a row, one training, each run once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backbones.common.errors import UserError
from transfer.records import settings
from transfer.records.records import UNKNOWN, Record, compared, measure

RANDOM = "random"
"""The classifier of a run from random weights."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all rows of a table share.

    Attributes:
        task: ``"detection"`` or ``"segmentation"``.
        data: Name of the data set.
        data_fingerprint: Hash of its lists of images.
        protocol: Name of the protocol.
        protocol_version: Hash of what it says.
        precision: ``"float32"`` or ``"bfloat16"``.
        metric: The headline metric.
        overrides: Further settings of the config, as JSON.
        form: Which average precision the metric is; see :attr:`Record.form`.
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

    @property
    def measure(self) -> str:
        """The headline metric in full, such as ``mAP (11-point, IoU .5)``."""
        return measure(self.metric, self.form)

    @property
    def title(self) -> str:
        """What the table is of, for people."""
        told = f"{self.task.capitalize()} on {self.data}, protocol {self.protocol}"
        sample = " (SAMPLE: drawn images, not VOC or ADE20K)" if self.data == "sample" else ""
        changed = "".join(f", {one}" for one in settings.told(json.loads(self.overrides)))
        return f"{told}, {self.precision}{changed}{sample}"

    @classmethod
    def of(cls, record: Record) -> Setting:
        """The table that a record belongs to."""
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
        )


def classifier(record: Record) -> str:
    """What tells the weights apart that were fine-tuned."""
    return record.content["classifier"]["sha256"] or RANDOM


def digest_of_run(record: Record) -> str:
    """Hash of the file that an imported record was made from; empty for one of our own."""
    imported = record.content.get("imported")
    return str(imported.get("sha256", "")) if isinstance(imported, dict) else ""


def of_one_model(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Of each row the records of its newest model; a sentence about every other.

    A row may have several classifiers, of one network that is fed in one way, or none: then every
    run draws its own weights. What a user's file once said of another model is not averaged with
    what it says now.
    """
    newest: dict[str, dict[str, tuple[Any, Record]]] = {}  # by row and trait, and who told it
    usable: list[Record] = []
    told: dict[tuple[str, str], list[Record]] = {}  # by row and by what is another
    for record in sorted(records, key=_finished, reverse=True):
        row = record.cell["backbone"]
        model, known = _model(record), newest.setdefault(row, {})
        other = next((t for t in model if t in known and model[t] != known[t][0]), None)
        if other is None:
            usable.append(record)
            newest[row] = {t: (v, record) for t, v in model.items()} | known
        else:
            value, first = known[other]
            reason = f"{other} {model[other]}, that of the newest ({first.path.name}) has {value}"
            told.setdefault((row, reason), []).append(record)
    kept = {id(record) for record in usable}
    sentences = [
        f"{_named(row, group)} is of another model: it has {reason}; give the file of each model "
        "a name of its own."
        for (row, reason), group in told.items()
    ]
    return [record for record in records if id(record) in kept], sentences


def _model(record: Record) -> dict[str, Any]:
    """What a row has one of, as far as it is known: an imported run tells none surely."""
    told = record.content["classifier"]
    kind = "random" if classifier(record) == RANDOM else "trained"
    model: dict[str, Any] = {"weights of the kind": f"'{kind}'"}
    if told["architecture"] != UNKNOWN:
        model["the architecture"] = told["architecture"]
    for name in ("mean", "std"):
        values = told.get(name)
        if isinstance(values, list) and all(isinstance(value, int | float) for value in values):
            # 0 to 255; files of one model may round it otherwise
            model[f"the {name}"] = [round(value, 2) for value in values]
    return model


def _finished(record: Record) -> str:
    return str(record.content.get("finished", ""))


def _named(row: str, records: Sequence[Record]) -> str:
    more = f" and {len(records) - 1} more" if len(records) > 1 else ""
    return f"{row} ({records[0].path.name}{more})"


def comparable(records: Sequence[Record], baseline: str) -> tuple[list[Record], list[str]]:
    """Records that were trained alike but for the backbone; most of the baseline's decide."""
    of_baseline = [record for record in records if record.cell["backbone"] == baseline]
    times = Counter(map(_trained, of_baseline))
    reference = max(of_baseline or records[:1], key=lambda r: (times[_trained(r)], _finished(r)))
    wanted = _trained(reference)
    usable: list[Record] = []
    told: dict[tuple[str, Any], list[Record]] = {}  # by row and by how it was trained
    for record in records:
        trained = _trained(record)
        if _are_alike(trained, wanted):
            usable.append(record)
        else:
            told.setdefault((record.cell["backbone"], trained), []).append(record)
    return usable, [_refusal(reference, group) for group in told.values()]


def _trained(record: Record) -> tuple[str, int | None, float | None]:
    """The config, and what the number of processes made of it: the whole batch, and the rate.

    None where they are not known: an imported run tells no rate, and the batch by its log alone.
    """
    training = record.content["training"]
    return record.comparable, training.get("batch_size"), training.get("lr")


def _are_alike(one: Sequence[Any], other: Sequence[Any]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(a is None or b is None or a == b for a, b in pairs)


def _refusal(reference: Record, records: Sequence[Record]) -> str:
    """Why records that were all fine-tuned in one other way are not in the table."""
    first = records[0]
    try:
        difference = _first_difference(_rest(reference), _rest(first))
    except UserError as error:
        difference = str(error)
    (config, batch, lr), (wanted, own_batch, own_lr) = _trained(first), _trained(reference)
    if config == wanted:
        rate, own_rate = (f" at a rate of {lr}", f" at {own_lr}") if lr and own_lr else ("", "")
        difference = (
            f"a batch of {batch} in all{rate}, the baseline's is {own_batch}{own_rate}; both need "
            "the same number of processes."
        )
    row = first.cell["backbone"]
    return f"{_named(row, records)} was fine-tuned differently: {difference}"


def once(records: Sequence[Record]) -> tuple[list[Record], list[str]]:
    """Each fine-tuning once: the first of its records, by name."""
    kept: dict[tuple[str, str, int], Record] = {}
    runs: dict[str, Record] = {}
    repeated = []
    for record in records:
        digest = digest_of_run(record)
        if digest and (first := runs.setdefault(digest, record)) is not record:
            repeated.append(
                f"{record.path.name} was imported from the same run as {first.path.name}; it "
                "counts once, so remove one of them."
            )
            continue
        key = (record.cell["backbone"], classifier(record), record.cell["seed"])
        first = kept.setdefault(key, record)
        if first is not record:
            repeated.append(
                f"{record.path.name} is of the same row, classifier and seed as "
                f"{first.path.name}; one fine-tuning counts once, so remove one of them."
            )
    return list(kept.values()), repeated


def _rest(record: Record) -> dict[str, Any]:
    try:
        return compared(record.config)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"The record '{record.path}' holds no readable config.") from error


def _first_difference(left: Any, right: Any, place: str = "") -> str:
    """Where two trees first differ, as ``model.neck.out_channels is 256 here, 128 there``."""
    if left == right:
        return "its config is the baseline's by its text, and another by the hash beside it."
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            if left.get(key) != right.get(key):
                return _first_difference(left.get(key), right.get(key), f"{place}.{key}".strip("."))
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            if one != other:
                return _first_difference(one, other, f"{place}.{index}")
    return f"{place} is {right!r}, the baseline's is {left!r}."
