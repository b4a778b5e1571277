"""All results, read once, for the tables, the page and the README."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from backbones.common.near_names import suggestion
from backbones.zoo import zoo
from backbones.zoo.paper_figures import figures
from transfer.records import failures, records
from transfer.records.comparable import Setting
from transfer.records.records import Record
from transfer.records.wording import count as count_of
from transfer.report import classification
from transfer.report.across_data import with_notes
from transfer.report.gains import GainTable, gain_table, paper_row
from transfer.report.remarks import PAPER_DATA
from transfer.report.short_names import short_name

BASELINE = "resnet50_baseline"
"""The paper's baseline, and that of rows without a recorded one or a control in the zoo."""


@dataclass(frozen=True)
class Collection:
    """All results.

    Attributes:
        gains: Tables of fine-tunings, one for each setting and baseline.
        groups: Groups of trained classifiers that may share a table.
        costs: By architecture, parameters and multiply-adds at 224 pixels, as recorded.
        left_out: A sentence for each file that no table includes.
    """

    gains: tuple[GainTable, ...]
    groups: tuple[classification.Group, ...]
    costs: dict[str, tuple[int, int]]
    left_out: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that choose the results, shared by the commands that show them."""
    add = parser.add_argument
    add("--results", type=Path, default=Path("results"), help="results folder")
    add("--sample", action="store_true", help="use the records of the built-in sample")
    add(
        "--against",
        default="",
        metavar="ROW",
        help="baseline for computing gains (default: the baseline that the records name)",
    )


def asked(args: argparse.Namespace) -> Collection:
    """Read what :func:`add_arguments` selects.

    Raises:
        UserError: As :func:`collect`.
    """
    return collect(args.results, "sample" if args.sample else "", args.against)


def only_of_the_sample(args: argparse.Namespace) -> str:
    """Where a folder has runs on the sample only and others are asked for, a sentence on that."""
    of_sample = [] if args.sample else records.files(records.folder(args.results, "sample"))
    if not of_sample or records.files(records.folder(args.results, "")):
        return ""
    return (
        f"'{args.results.absolute()}' holds no runs on real images, but "
        f"{count_of(len(of_sample), 'run')} on the built-in sample: add --sample to show them."
    )


def collect(results: Path, data: str = "", against: str = "") -> Collection:
    """Read a results folder.

    Args:
        results: The folder.
        data: ``"sample"`` for the records of the sample; otherwise all others.
        against: Row, or a row's ``.toml``, that gains are computed against; empty for the recorded
            baselines.

    Raises:
        UserError: No record belongs to the chosen baseline.
    """
    found, unreadable = records.read_all(results, data)
    baseline = _recorded(against, found) if against else ""
    trained, unusable = classification.read_all(results) if data != "sample" else ([], [])
    groups, repeated = classification.groups(trained)
    costs = {
        classifier["architecture"]: (classifier["parameters"], classifier["multiply_adds_224"])
        for classifier in (record.content["classifier"] for record in found)
        if classifier["parameters"]
    }
    missing = [] if results.is_dir() else [f"'{results}' is not a folder, so no record was read."]
    failed = _failed(records.folder(results, data))
    left_out = (*missing, *unreadable, *failed, *unusable, *repeated, *_apart(found))
    return Collection(tuple(families(found, baseline)), tuple(groups), costs, left_out)


def settings(found: Collection) -> list[tuple[str, list[GainTable]]]:
    """The tables of each setting, with a short, unique name of the setting."""
    named: dict[str, list[GainTable]] = {}
    for setting, tables in groupby(found.gains, key=lambda table: table.setting):
        name = short_name(f"{setting.task}-{setting.data}-{setting.protocol}", named)
        named[name] = list(tables)
    return list(named.items())


def _failed(place: Path) -> list[str]:
    """Failed cells without a record; failures are not random, so a mean may hide them."""
    lines = []
    for path in records.files(failures.folder_of(place)):
        failure = failures.read(place / path.name)
        if failure and not (place / path.name).exists():
            times = count_of(failure.attempts, "time")
            lines.append(f"{failure.cell} failed {times} and is in no figure: {failure.reason}")
    return lines


def _apart(found: Iterable[Record]) -> list[str]:
    """Protocols and data sets with several versions, whose rows are in separate tables."""
    versions: dict[tuple[str, str, str], set[tuple[str, str]]] = {}
    for setting in {Setting.of(record) for record in found}:
        key = (setting.task, setting.data, setting.protocol)
        versions.setdefault(key, set()).add((setting.protocol_version, setting.data_fingerprint))
    return [
        f"{task} on {data}, protocol {protocol}: records of {len(several)} versions, "
        f"{'; '.join(f'protocol {one}, data {other}' for one, other in sorted(several))}; each "
        "has its own table, and rows of different versions are not compared."
        for (task, data, protocol), several in sorted(versions.items())
        if len(several) > 1
    ]


def _recorded(against: str, found: Iterable[Record]) -> str:
    """The name of a row in the records."""
    name = zoo.find(against).name if against.endswith(".toml") else against
    rows = dict.fromkeys(record.cell["backbone"] for record in _ordered(found))
    if name not in rows:
        hint = suggestion(name, rows) if rows else "there are no records."
        raise UserError(f"No record belongs to '{name}', so it cannot be the baseline: {hint}")
    return name


def families(found: Iterable[Record], against: str = "") -> list[GainTable]:
    """A table for each setting and baseline, settings and rows in a fixed order.

    Args:
        found: The records.
        against: Row that gains are computed against; empty for the recorded baselines.
    """
    settings: dict[Setting, list[Record]] = {}
    for record in found:
        settings.setdefault(Setting.of(record), []).append(record)
    tables: list[GainTable] = []
    for setting in sorted(settings, key=_place):
        of_setting = []
        members = _ordered(settings[setting])
        baselines = _baselines(setting, members, against)
        for baseline in sorted(set().union(*baselines.values()), key=_rank):
            compared = {name for name, own in baselines.items() if baseline in own} | {baseline}
            rows = [record for record in members if record.cell["backbone"] in compared]
            of_setting.append(gain_table(setting, rows, baseline))
        tables += [_beside(table, of_setting) for table in of_setting]
    return with_notes(tables)


def _beside(table: GainTable, several: Sequence[GainTable]) -> GainTable:
    """A table with a note on its rows that are compared with another baseline too."""
    notes = []
    for other in several:
        theirs = {row.name for row in other.rows}
        shared = [row.name for row in table.rows if row.name in theirs]
        if other is not table and shared:
            notes.append(
                f"{', '.join(shared)}: also in the table against {other.baseline}. The 95 % of a "
                "table hold for that table alone, not for both tables together."
            )
    analysis = replace(table.analysis, notes=(*table.analysis.notes, *notes))
    return replace(table, analysis=analysis)


def _place(setting: Setting) -> tuple[Any, ...]:
    """The paper's protocol first, and each unchanged protocol before changed ones."""
    protocol, changed = setting.protocol, setting.overrides != "[]"
    return setting.task, setting.data, protocol != "paper", protocol, changed, setting.order


def _baselines(
    setting: Setting, members: Sequence[Record], against: str
) -> dict[str, frozenset[str]]:
    """For each row, its baselines: those in its records, otherwise its control.

    The paper's rows on the paper's data are always compared with the paper's baseline.
    """
    stated: dict[str, frozenset[str]] = {}
    for record in members:
        recorded = frozenset({against or record.baseline} - {""})
        stated[record.cell["backbone"]] = (
            stated.get(record.cell["backbone"], frozenset()) | recorded
        )
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
    """The recorded baselines of each row; otherwise its control in the zoo or a substitute.

    A baseline of other rows without a recorded baseline is a control itself.
    """
    own = {name: _control(name) for name in stated}
    shared = BASELINE if BASELINE in stated else min(set(own.values()) - {""}, default=BASELINE)
    controls = frozenset(own.values()).union(*stated.values())
    fallback = {
        name: name if name in controls else own[name] if own[name] in stated else shared
        for name in stated
    }
    return {name: recorded or frozenset({fallback[name]}) for name, recorded in stated.items()}


def _control(name: str) -> str:
    try:
        return zoo.find(name).control
    except UserError:  # a user's own row is not in the zoo
        return ""


_ORDER = {name: number for number, name in enumerate(zoo.CATALOGUE)}


def _rank(name: str) -> tuple[int, str]:
    """In the order of the zoo, then others by name."""
    return _ORDER.get(name, len(_ORDER)), name


def _ordered(members: Iterable[Record]) -> list[Record]:
    """In the order of the zoo, then others by name; fine-tunings by seed."""
    return sorted(
        members,
        key=lambda r: (*_rank(r.cell["backbone"]), r.cell["seed"], r.path.name),
    )
