"""Everything that was measured, read once: what the tables, the page and the README rest on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path

from backbones import zoo
from backbones.errors import UserError
from transfer.report import classification, records
from transfer.report.gains import GainTable, Setting, gain_table
from transfer.report.records import Record

BASELINE = "resnet50_baseline"
"""The row that rows without a control of their own are compared with."""


@dataclass(frozen=True)
class Collection:
    """All that was measured.

    Attributes:
        gains: Tables of fine-tunings, one a setting and control.
        groups: Trained classifiers that may stand in one table.
        costs: By architecture, parameters and multiply-adds at 224 pixels, as records tell them.
        left_out: A sentence for each file that is in no table.
    """

    gains: tuple[GainTable, ...]
    groups: tuple[classification.Group, ...]
    costs: dict[str, tuple[int, int]]
    left_out: tuple[str, ...]


def collect(results: Path, data: str = "") -> Collection:
    """Read a folder of results.

    Args:
        results: The folder.
        data: ``"sample"`` for the sample's records, which stand apart; else all others.
    """
    found, unreadable = records.read_all(results, data)
    trained, unusable = classification.read_all(results) if data != "sample" else ([], [])
    groups, repeated = classification.groups(trained)
    costs = {
        told["architecture"]: (told["parameters"], told["multiply_adds_224"])
        for told in (record.content["classifier"] for record in found)
        if told["parameters"]
    }
    left_out = (*unreadable, *unusable, *repeated, *_apart(found))
    return Collection(tuple(families(found)), tuple(groups), costs, left_out)


def settings(found: Collection) -> list[tuple[str, list[GainTable]]]:
    """The tables of each setting, with a short name for it that no other has."""
    named: dict[str, list[GainTable]] = {}
    for setting, tables in groupby(found.gains, key=lambda table: table.setting):
        stem = name = f"{setting.task}-{setting.data}-{setting.protocol}".replace("/", "-")
        for number in count(2):
            if name not in named:
                break
            name = f"{stem}-{number}"
        named[name] = list(tables)
    return list(named.items())


def _apart(found: Iterable[Record]) -> list[str]:
    """Protocols and data sets of which there are several versions, whose rows stand apart."""
    versions: dict[tuple[str, str, str], set[tuple[str, str]]] = {}
    for setting in {Setting.of(record) for record in found}:
        key = (setting.task, setting.data, setting.protocol)
        versions.setdefault(key, set()).add((setting.protocol_version, setting.data_fingerprint))
    return [
        f"{task} on {data}, protocol {protocol}: records of {len(several)} versions, "
        f"{'; '.join(f'protocol {one}, data {other}' for one, other in sorted(several))}; each "
        "has a table of its own, and none is compared with the other's rows."
        for (task, data, protocol), several in sorted(versions.items())
        if len(several) > 1
    ]


def families(found: Iterable[Record]) -> list[GainTable]:
    """A table for each setting and control, settings and rows in a fixed order."""
    settings: dict[Setting, list[Record]] = {}
    for record in found:
        settings.setdefault(Setting.of(record), []).append(record)
    tables = []
    for setting in sorted(settings, key=_place):
        by_control: dict[str, list[Record]] = {}
        members = settings[setting]
        controls = _controls(members)
        for record in members:
            by_control.setdefault(controls[record.cell["backbone"]], []).append(record)
        for control in sorted(by_control, key=lambda name: (_ORDER.get(name, len(_ORDER)), name)):
            tables.append(gain_table(setting, _ordered(by_control[control]), control))
    return tables


def _place(setting: Setting) -> tuple[str, str, bool, str, str]:
    """The paper's own protocol first."""
    return setting.task, setting.data, setting.protocol != "paper", setting.protocol, repr(setting)


def _controls(members: Sequence[Record]) -> dict[str, str]:
    """By row, the row that it is compared with; a control belongs to its own table."""
    names = {record.cell["backbone"] for record in members}
    own = {name: _control(name) for name in names}
    shared = BASELINE if BASELINE in names else min(set(own.values()) - {""}, default=BASELINE)
    return {
        name: name if name in own.values() else own[name] if own[name] in names else shared
        for name in names
    }


def _control(name: str) -> str:
    try:
        return zoo.find(name).control
    except UserError:  # a user's own row: the record does not tell its control
        return ""


_ORDER = {name: number for number, name in enumerate(zoo.CATALOGUE)}


def _ordered(members: Sequence[Record]) -> list[Record]:
    """As the zoo lists its rows, others behind them by name; fine-tunings by seed."""
    return sorted(
        members,
        key=lambda r: (
            _ORDER.get(r.cell["backbone"], len(_ORDER)),
            r.cell["backbone"],
            r.cell["seed"],
            r.path.name,
        ),
    )
