"""The basis of a table: data, protocol, classifiers, machines, versions, commands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from transfer.records.records import Record
from transfer.records.wording import count
from transfer.report import how_trained
from transfer.report.gains import GainRow, GainTable
from transfer.report.layout import Table, table


def foundations(tables: Sequence[GainTable]) -> list[str]:
    """Sentences about one setting, with every value that occurs in its records.

    Args:
        tables: All tables of the setting.
    """
    setting = tables[0].setting
    found = [r.content for r in _records(tables)]
    hardware = [content.get("hardware") for content in found]
    lines = [
        f"Data: {setting.data}, fingerprint {setting.data_fingerprint}.",
        f"Protocol: {setting.protocol}, version {setting.protocol_version}; precision "
        f"{setting.precision}.",
        f"Records: {len(found)}. {_hours(found)}",
        f"Machines: {_listed(_machine(one) for one in hardware)}.",
        f"Versions: {_listed(_pairs(content['versions']) for content in found)}.",
        f"Code: {_listed(_commit(content.get('git')) for content in found)}.",
    ]
    unknown = sorted({line for content in found for line in _unknown(content)})
    return lines + [f"Imported: {line}" for line in unknown]


def rests_on(gains: GainTable, name: str) -> Table:
    """The differences between the rows of a table: network, cost, tricks, weights, seeds."""
    columns = ("backbone", "network", "M parameters", "G mult-adds", "tricks", "weights", "seeds")
    return table(name, title=f"Basis of the rows, {gains.setting.title}", columns=columns,
                 rows=[_row(row) for row in gains.rows])  # fmt: skip


def commands(tables: Sequence[GainTable]) -> list[str]:
    """The commands that produced a setting's records, without duplicates."""
    recorded = (record.content.get("command") for record in _records(tables))
    return sorted({command for command in recorded if isinstance(command, str) and command})


def _hours(found: Sequence[dict[str, Any]]) -> str:
    """Hours of the runs, and of training their classifiers, each counted once."""
    line = f"Time: {_sum(content.get('seconds', {}).values() for content in found)} of fine-tuning"
    trained = {c["sha256"]: c.get("training") for c in (one["classifier"] for one in found)}
    spent = [[one["seconds"]] for one in trained.values() if one and "seconds" in one]
    if not spent:
        return f"{line}."
    return f"{line}, {_sum(spent)} of training {count(len(spent), 'classifier')}."


def _sum(seconds: Iterable[Iterable[float]]) -> str:
    return f"{sum(map(sum, seconds)) / 3600:.1f} h"


def _row(row: GainRow) -> list[str]:
    weights = {
        f"{classifier.get('source', '')} {classifier['sha256'][:12]}".strip() or "random"
        for classifier in (record.content["classifier"] for record in row.records)
    }
    return [
        row.name,
        row.architecture,
        f"{row.parameters / 1e6:.2f}" if row.parameters else "unknown",
        f"{row.multiply_adds / 1e9:.2f}" if row.multiply_adds else "unknown",
        how_trained.tricks(row),
        "; ".join(sorted(weights)),
        ", ".join(str(seed) for seed in sorted({r.cell["seed"] for r in row.records})),
    ]


def _records(tables: Iterable[GainTable]) -> list[Record]:
    """Records without duplicates: a row may have several baselines."""
    found = (record for one in tables for row in one.rows for record in row.records)
    return list({record.path: record for record in found}.values())


def _listed(texts: Iterable[str]) -> str:
    return "; ".join(sorted({text for text in texts if text})) or "not recorded"


def _machine(hardware: Any) -> str:
    if not isinstance(hardware, dict):
        return ""
    gpus = hardware.get("gpus") or []
    cpu = f"{hardware.get('cpu', 'unknown CPU')}, {hardware.get('cores', '?')} cores"
    return " + ".join([cpu, *(str(gpu) for gpu in gpus)])


def _pairs(versions: Any) -> str:
    return (
        ", ".join(f"{key} {versions[key]}" for key in sorted(versions))
        if isinstance(versions, dict)
        else ""
    )


def _commit(git: Any) -> str:
    if not isinstance(git, dict) or not git.get("commit"):
        return ""
    return f"commit {str(git['commit'])[:12]}" + (" with changes" if git.get("changed") else "")


def _unknown(content: dict[str, Any]) -> list[str]:
    imported = content.get("imported")
    return list(imported.get("unknown", [])) if isinstance(imported, dict) else []
