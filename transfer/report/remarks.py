"""Remarks below a table of gains, in sentences."""

from __future__ import annotations

import json

from transfer.records.comparable import Setting
from transfer.records.settings import WITHOUT, unsaid
from transfer.records.wording import count, interval
from transfer.report import how_trained
from transfer.report.gains import GainRow, GainTable, paper_row
from transfer.stats.agreement import PaperAgreement, agreement
from transfer.stats.comparison import Method
from transfer.stats.components import Component
from transfer.stats.power import MAX_UNITS
from transfer.stats.rows import RowResult

PAPER_PROTOCOL = "paper"
PAPER_DATA = {"detection": "voc0712", "segmentation": "ade20k"}


_METHODS: dict[Method, str] = {
    "Dunnett": "Dunnett's method",
    "blocked Dunnett": "Dunnett's method within blocks of seeds",
    "Welch-Bonferroni": "Welch's tests with Bonferroni's correction",
}


def remarks(table: GainTable) -> list[str]:
    """Every sentence below a table, the most important first."""
    return [
        *_measured(table),
        *_unfinished(table),
        *_method(table),
        *table.analysis.notes,
        *_about(table),
        *_proxies(table),
        *_reaches(table),
        *_notes_of_rows(table),
        *_agreements(table),
        *table.left_out,
    ]


def is_papers_protocol(setting: Setting) -> bool:
    """Whether rows were fine-tuned as in the paper; parts that only save time may differ."""
    changed = [key for key, _ in json.loads(setting.overrides) if key != WITHOUT]
    return setting.protocol == PAPER_PROTOCOL and not changed


def judged_agreement(table: GainTable, row: GainRow) -> PaperAgreement | None:
    """Our gain against the paper's; None except on the paper's data and unchanged protocol.

    Also None for an alias beside its target: the paper's one row is judged once.
    """
    setting = table.setting
    is_papers = is_papers_protocol(setting) and setting.data == PAPER_DATA[setting.task]
    if not is_papers or row.paper_gain is None or row.name == table.baseline:
        return None
    target = paper_row(row.name)
    if target != row.name and any(other.name == target for other in table.rows):
        return None
    return agreement(row.statistics, table.rows[0].statistics, row.paper_gain)


def _measured(table: GainTable) -> list[str]:
    setting = table.setting
    content = table.rows[0].records[0].content
    images = content["training"]["images"]
    counts = f"{images['train']} training images over all epochs, {images['test']} test images"
    if not images["train"]:
        counts = "number of images unknown"
    lines = [
        f"Protocol {setting.protocol}, version {setting.protocol_version}; data {setting.data}, "
        f"fingerprint {setting.data_fingerprint}.",
        f"{setting.measure}: last epoch, never the best; fine-tuned in {setting.precision}, "
        f"{counts}; all else in the config is equal in every row.",
    ]
    if changed := unsaid(json.loads(setting.overrides)):
        lines.append(f"Changed in the protocol's config: {changed}.")
    on = sorted({row.top1_on for row in table.rows if row.top1 and row.top1_on})
    if on:
        lines.append(f"top-1 was measured on {', '.join(on)}.")
    if unknown := [row.name for row in table.rows if row.top1 and not row.top1_on]:
        lines.append(f"The data set of top-1 is not recorded for {', '.join(unknown)}.")
    if setting.data == "sample":
        lines.append(
            "A gain on the sample may differ in sign from the paper's: classifiers and images are "
            "tiny, and the paper's gain is shown for orientation only."
        )
    imported = [
        f"{record.cell['backbone']} ({record.path.name})"
        for row in table.rows
        for record in row.records
        if "imported" in record.content
    ]
    if imported:
        lines.append(f"Imported, not run here: {', '.join(imported)}.")
    return lines


def _unfinished(table: GainTable) -> list[str]:
    """A warning while runs are missing that a suite has asked for."""
    if not table.unfinished:
        return []
    rows = ", ".join(f"{row} {runs}" for row, runs in table.unfinished.items())
    return [
        f"Provisional: {count(sum(table.unfinished.values()), 'run')} of this suite not finished "
        f"({rows}). Verdicts count when all are; if you stop early at a verdict, false ones become "
        "more likely."
    ]


def _method(table: GainTable) -> list[str]:
    analysis = table.analysis
    if analysis.method is None:
        others = any(row.name != table.baseline for row in table.rows)
        return [f"No verdicts: {analysis.reason}."] if others else []
    rows = count(len(analysis.family), "row")
    together = "; the intervals hold for all of them together" if len(analysis.family) > 1 else ""
    controls = [row.name for row in table.rows if row.statistics.control]
    lines = []
    if analysis.family:
        lines.append(
            f"Verdicts: {rows} compared with {table.baseline} by {_METHODS[analysis.method]}"
            f"{together}. Units: {analysis.reason}."
        )
    if controls:
        lines.append(
            "Controls, which are meant to lose, are compared alone, each with its own 95 % "
            f"interval: {', '.join(controls)}."
        )
    if analysis.components:
        lines.append(
            "Spread by source, standard deviations in points with 95 % intervals: "
            f"{'; '.join(map(_spread, analysis.components))}."
        )
    return lines


def _spread(part: Component) -> str:
    """A standard deviation, and the share of a run's variance if it is known."""
    text = f"{part.name} {part.sd:.2f} ({interval(part.low, part.high)})"
    if part.share is None:
        return text
    share, low, high = (f"{100 * one:.0f}" for one in part.share)
    return f"{text}, or {share} % of a run's variance ({low} … {high})"


def _about(table: GainTable) -> list[str]:
    """Whether the figures are about recipes or given weights, with rows of one kind together."""
    kinds: dict[str, list[str]] = {}
    for row in table.rows:
        kinds.setdefault(row.statistics.about, []).append(row.name)
    if len(kinds) == 1:
        return [f"All figures are {next(iter(kinds))}."]
    return [f"The figures of {', '.join(rows)} are {about}." for about, rows in kinds.items()]


def _proxies(table: GainTable) -> list[str]:
    """Rows that have the name of a paper's row but not its recipe."""
    found = how_trained.proxies(table.rows)
    if not found:
        return []
    return [
        "Public weights that are close relatives of the paper's rows, not trained with its recipe: "
        f"{', '.join(found)}."
    ]


def _reaches(table: GainTable) -> list[str]:
    baseline = table.rows[0].statistics
    largest = max(100.0 - baseline.mean, baseline.mean)
    return [
        _reach(row.statistics, largest)
        for row in table.rows
        if row.statistics.detectable is not None
    ]


def _reach(row: RowResult, largest: float) -> str:
    """The meaning of "inconclusive": the detectable gain, and the cost of a given gain."""
    assert row.detectable is not None
    assert row.target_gain is not None
    whose = "classifiers" if row.unit == "classifier" else "seeds"
    cost = _range(row.needed_low, row.needed_high, whose)
    return (
        f"{row.row}: inconclusive. {_detectable(row, largest)}; a gain of "
        f"{row.target_gain:+.2f} needs {cost}."
    )


def _detectable(row: RowResult, largest: float) -> str:
    """The detectable gain, up to the largest that a percentage leaves room for."""
    assert row.detectable is not None
    assert row.detectable_low is not None
    assert row.detectable_high is not None
    if row.detectable_low >= largest:
        return "This design finds no gain that a percentage allows with 80 % power"
    low, high = f"{row.detectable_low:.2f}", f"{row.detectable_high:.2f}"
    if row.detectable_high >= largest:
        high = f"more than the {largest:.2f} that a percentage allows"
    if row.detectable >= largest:
        return f"This design finds a gain of {low} to {high} with 80 % power"
    return (
        f"This design would have found a gain of {row.detectable:.2f} ({low} … {high}) with 80 % "
        "power"
    )


def _range(low: int | None, high: int | None, units: str) -> str:
    if low is None:
        return f"more than {MAX_UNITS} {units} per row"
    if high is None:
        return f"at least {low} {units} per row, at worst more than {MAX_UNITS}"
    return f"{low if low == high else f'{low} to {high}'} {units} per row"


def _notes_of_rows(table: GainTable) -> list[str]:
    return [f"{row.name}: {note}" for row in table.rows for note in row.statistics.notes]


def _agreements(table: GainTable) -> list[str]:
    judged = [(row, judged_agreement(table, row)) for row in table.rows]
    compared = [row for row, one in judged if one and one.verdict]
    assumptions = {one.assumption for _, one in judged if one and one.verdict}
    proxies = how_trained.proxies([table.rows[0], *compared])
    caution = f" Not of the paper's recipe: {', '.join(proxies)}." if proxies else ""
    return [
        "Agreement: the paper's gain is a difference of two single runs. It agrees if it lies in "
        "the prediction interval for such a difference, in brackets. This assumes that "
        f"{assumption}.{caution}"
        for assumption in sorted(assumptions)
    ]
