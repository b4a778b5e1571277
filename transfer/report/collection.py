"""Everything that was measured, read once: what the tables, the page and the README rest on."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.near_names import suggestion
from backbones.zoo import zoo
from backbones.zoo.paper_figures import figures
from transfer.records import failures, records
from transfer.records.comparable import Setting
from transfer.records.records import Record
from transfer.records.wording import count as count_of
from transfer.report import classification
from transfer.report.gains import GainTable, gain_table, paper_row
from transfer.report.remarks import PAPER_DATA

BASELINE = "resnet50_baseline"
"""The paper's own, and that of rows whose records tell none and that have no control in the zoo."""


@dataclass(frozen=True)
class Collection:
    """All that was measured.

    Attributes:
        gains: Tables of fine-tunings, one a setting and baseline.
        groups: Trained classifiers that may stand in one table.
        costs: By architecture, parameters and multiply-adds at 224 pixels, as records tell them.
        left_out: A sentence for each file that is in no table.
    """

    gains: tuple[GainTable, ...]
    groups: tuple[classification.Group, ...]
    costs: dict[str, tuple[int, int]]
    left_out: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is collected: the same of every command that shows it."""
    add = parser.add_argument
    add("--results", type=Path, default=Path("results"), help="folder of the records")
    add("--sample", action="store_true", help="of the sample's records, which stand apart")
    add(
        "--against",
        default="",
        metavar="ROW",
        help="row that gains are counted from (default: the one of the run, which records tell)",
    )


def asked(args: argparse.Namespace) -> Collection:
    """What :func:`add_arguments` asks for.

    Raises:
        UserError: As :func:`collect`.
    """
    return collect(args.results, "sample" if args.sample else "", args.against)


def collect(results: Path, data: str = "", against: str = "") -> Collection:
    """Read a folder of results.

    Args:
        results: The folder.
        data: ``"sample"`` for the sample's records, which stand apart; else all others.
        against: Row, or a row's ``.toml``, that gains are counted from; empty: as the records tell.

    Raises:
        UserError: No record is of the row that gains are to be counted from.
    """
    found, unreadable = records.read_all(results, data)
    baseline = _recorded(against, found) if against else ""
    trained, unusable = classification.read_all(results) if data != "sample" else ([], [])
    groups, repeated = classification.groups(trained)
    costs = {
        told["architecture"]: (told["parameters"], told["multiply_adds_224"])
        for told in (record.content["classifier"] for record in found)
        if told["parameters"]
    }
    missing = [] if results.is_dir() else [f"'{results}' is no folder: no record was read."]
    failed = _failed(records.folder(results, data))
    left_out = (*missing, *unreadable, *failed, *unusable, *repeated, *_apart(found))
    return Collection(tuple(families(found, baseline)), tuple(groups), costs, left_out)


def settings(found: Collection) -> list[tuple[str, list[GainTable]]]:
    """The tables of each setting, with a short name for it that no other has."""
    named: dict[str, list[GainTable]] = {}
    for setting, tables in groupby(found.gains, key=lambda table: table.setting):
        told = f"{setting.task}-{setting.data}-{setting.protocol}"
        stem = name = re.sub(r"[^\w.-]", "-", told)  # of a file, and of a link to it
        for number in count(2):
            if name not in named:
                break
            name = f"{stem}-{number}"
        named[name] = list(tables)
    return list(named.items())


def _failed(place: Path) -> list[str]:
    """Cells that have failed and have no record: not by chance, so that a mean may hide them."""
    told = []
    for path in records.files(failures.folder_of(place)):
        failure = failures.read(place / path.name)
        if failure and not (place / path.name).exists():
            times = count_of(failure.attempts, "time")
            told.append(f"{failure.cell} has failed {times}, and is in no figure: {failure.reason}")
    return told


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


def _recorded(against: str, found: Iterable[Record]) -> str:
    """The name that the records have for a row."""
    name = zoo.find(against).name if against.endswith(".toml") else against
    rows = dict.fromkeys(record.cell["backbone"] for record in _ordered(found))
    if name not in rows:
        hint = suggestion(name, rows) if rows else "there are none."
        raise UserError(f"No record is of '{name}', so no gain can be counted from it: {hint}")
    return name


def families(found: Iterable[Record], against: str = "") -> list[GainTable]:
    """A table for each setting and baseline, settings and rows in a fixed order.

    Args:
        found: The records.
        against: Row that gains are counted from; empty: as the records tell.
    """
    settings: dict[Setting, list[Record]] = {}
    for record in found:
        settings.setdefault(Setting.of(record), []).append(record)
    tables = []
    for setting in sorted(settings, key=_place):
        members = _ordered(settings[setting])
        baselines = _baselines(setting, members, against)
        for baseline in sorted(set().union(*baselines.values()), key=_rank):
            compared = {name for name, own in baselines.items() if baseline in own} | {baseline}
            rows = [record for record in members if record.cell["backbone"] in compared]
            tables.append(gain_table(setting, rows, baseline))
    return tables


def _place(setting: Setting) -> tuple[str, str, bool, str, bool, str]:
    """The paper's own protocol first, and each protocol as it is before changes to it."""
    protocol, changed = setting.protocol, setting.overrides != "[]"
    return setting.task, setting.data, protocol != "paper", protocol, changed, repr(setting)


def _baselines(
    setting: Setting, members: Sequence[Record], against: str
) -> dict[str, frozenset[str]]:
    """By row, the rows that it is compared with: those that its records tell, else its control.

    The paper's rows on the paper's data are compared with the paper's baseline in any case.
    """
    stated: dict[str, frozenset[str]] = {}
    for record in members:
        told = frozenset({against or record.baseline} - {""})
        stated[record.cell["backbone"]] = stated.get(record.cell["backbone"], frozenset()) | told
    found = _controls(stated)
    for name in stated:
        if stated[name] and _is_papers(name, setting):
            found[name] |= {BASELINE}
    return found


def _is_papers(name: str, setting: Setting) -> bool:
    """Whether Table 8 or 9 has a line for a row of this setting."""
    known = figures(paper_row(name)).of(setting.metric) is not None
    return known and setting.data == PAPER_DATA[setting.task]


def _controls(stated: Mapping[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """What was stated of each row; else its control in the zoo, or what stands in for that.

    A row that others are compared with, and of which nothing was stated, is a control itself.
    """
    own = {name: _control(name) for name in stated}
    shared = BASELINE if BASELINE in stated else min(set(own.values()) - {""}, default=BASELINE)
    controls = frozenset(own.values()).union(*stated.values())
    fallback = {
        name: name if name in controls else own[name] if own[name] in stated else shared
        for name in stated
    }
    return {name: told or frozenset({fallback[name]}) for name, told in stated.items()}


def _control(name: str) -> str:
    try:
        return zoo.find(name).control
    except UserError:  # a user's own row is not in the zoo
        return ""


_ORDER = {name: number for number, name in enumerate(zoo.CATALOGUE)}


def _rank(name: str) -> tuple[int, str]:
    """As the zoo lists its rows, others behind them by name."""
    return _ORDER.get(name, len(_ORDER)), name


def _ordered(members: Iterable[Record]) -> list[Record]:
    """As the zoo lists its rows, others behind them by name; fine-tunings by seed."""
    return sorted(
        members,
        key=lambda r: (*_rank(r.cell["backbone"]), r.cell["seed"], r.path.name),
    )
