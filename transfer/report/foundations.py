"""The basis of the figures: runs, data, protocol, machines, versions, commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from transfer.records.records import Record
from transfer.records.wording import count, interval
from transfer.report import how_trained
from transfer.report.answer import Group, asked, controls, task_of
from transfer.report.gains import GainRow, GainTable
from transfer.report.image_noise import Noises, total
from transfer.report.layout import Table, table
from transfer.stats.rows import SEVERAL

_MOST_ROWS = 4  # that the first screen describes


def in_one_line(group: Group, noises: Noises) -> str:
    """What an answer rests on: runs, units, test images, and its intervals, also on other images.

    Args:
        group: The tables of the answer.
        noises: The noise of the test images of each table.
    """
    protocol, runs = group[0].setting.protocol, _records(group)
    changes = {task_of(one, group): ", ".join(one.setting.changes) for one in group}
    how = "; ".join(f"{task} {words}" for task, words in changes.items() if words)
    if len(set(changes.values())) == 1:
        how = next(iter(changes.values()))
    images = [text for text in dict.fromkeys(_test_images(table) for table in group) if text]
    parts = [
        f"{count(len(runs), 'run')} of protocol {protocol}{f' ({how})' if how else ''}",
        *dict.fromkeys(_units(table) for table in group),
        *([f"{' and '.join(images)} test images"] if images else []),
    ]
    return " ".join([f"{', '.join(parts)}. {_certainty(group)}", *_on_other_images(group, noises)])


def _on_other_images(group: Group, noises: Noises) -> Iterator[str]:
    """The intervals that hold on other test images too."""
    found = [text for table in group for text in _totals(table, noises)]
    if found:
        yield f"On other test images too: {'; '.join(found)}."


def _totals(table: GainTable, noises: Noises) -> Iterator[str]:
    rows = {row.name for row in asked(table)}
    for one in noises[table.setting, table.baseline]:
        if one.row in rows and (ends := total(table, one)):
            yield f"{one.row} in {table.setting.task} {interval(*ends)}"


def rows_in_words(group: Group) -> str:
    """The network and the training of the rows in question and of the baseline; of a few rows."""
    rows = {row.name: row for table in group for row in table.rows}
    names = dict.fromkeys(row.name for table in group for row in asked(table))
    chosen = [rows[name] for name in (*names, group[0].baseline) if name in rows]
    if len(chosen) > _MOST_ROWS:
        return ""
    return " ".join(_in_words(row) for row in chosen)


def _in_words(row: GainRow) -> str:
    """A row's network, its top-1 and the tricks of its training."""
    on = f" on {row.top1_on}" if row.top1_on else ""
    known = f", top-1 {row.top1:.2f} %{on}" if row.top1 else ""
    return f"{row.name}: {row.architecture}{known}, tricks: {how_trained.tricks(row)}."


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
    columns = ("backbone", "network", "tricks", "weights", "seeds")
    return table(name, title=f"{gains.setting.title}: basis of the rows", columns=columns,
                 rows=[_row(row) for row in gains.rows])  # fmt: skip


def commands(tables: Sequence[GainTable]) -> list[str]:
    """The commands that produced a setting's records, without duplicates."""
    recorded = (record.content.get("command") for record in _records(tables))
    return sorted({command for command in recorded if isinstance(command, str) and command})


def _test_images(table: GainTable) -> str:
    images = table.rows[0].records[0].content["training"]["images"]["test"]
    return f"{images:,}" if images else ""


def _units(table: GainTable) -> str:
    """``3 classifiers per row``, or their range."""
    counts = sorted({row.statistics.n for row in table.rows})
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    unit = {row.statistics.unit for row in table.rows}
    what = "classifiers or fine-tunings" if len(unit) > 1 else SEVERAL[unit.pop()]
    return f"{number} {what} per row"


def _certainty(group: Group) -> str:
    if all(table.analysis.method is None for table in group):
        reasons = dict.fromkeys(table.analysis.reason for table in group)
        return f"No verdicts: {'; '.join(reasons)}."
    units = {row.statistics.unit for table in group for row in table.rows}
    over = "classifiers and seeds" if "classifier" in units else "seeds"
    return f"Intervals: over {over}, on these test images{_family(group)}."


def _family(group: Group) -> str:
    """The rows for which intervals hold at once, as a clause; empty for a single row."""
    has_controls = any(map(controls, group))
    if any(len(asked(table)) > 1 for table in group):
        alone = " and for each control alone" if has_controls else ""
        return f", for all rows of a task together{alone}"
    return ", for each row alone" if has_controls else ""


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
    cpu = f"{hardware.get('cpu', 'unknown CPU')}, {count(hardware.get('cores', '?'), 'core')}"
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
