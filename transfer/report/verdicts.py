"""The verdicts of a table in plain words."""

from __future__ import annotations

from collections.abc import Sequence

from transfer.records.wording import count, gained
from transfer.report.gains import GainRow, GainTable


def verdict(table: GainTable) -> str:
    """The verdicts of a table in a few sentences, no stronger than its intervals allow."""
    others = [row for row in table.rows if row.name != table.baseline]
    if not others:
        return f"{table.setting.title}: only {table.baseline} was measured, so there is no gain."
    if not any(row.statistics.verdict for row in others):
        return f"{table.setting.title}: no verdicts: {table.analysis.reason}."
    return f"{table.setting.title}: {'; '.join(shares(others, table))}."


def shares(rows: Sequence[GainRow], table: GainTable) -> list[str]:
    """How many rows have which verdict, gains first, with the largest gain and loss.

    Args:
        rows: Rows of the table, without the baseline.
        table: The table.
    """
    judged = [row for row in rows if row.statistics.verdict]
    kinds = ["gain", "loss", *sorted({str(row.statistics.verdict) for row in judged}, reverse=True)]
    parts = [_share(kind, rows, table) for kind in dict.fromkeys(kinds)]
    if silent := len(rows) - len(judged):
        parts.append(f"{silent} of {count(len(rows), 'row')} without a verdict")
    return [part for part in parts if part]


def _share(kind: str, others: Sequence[GainRow], table: GainTable) -> str:
    """The share of rows with a verdict, and the largest gain with its interval."""
    found = [row for row in others if row.statistics.verdict == kind]
    if not found:
        return ""
    share = f"{len(found)} of {count(len(others), 'row')}"
    if kind not in ("gain", "loss"):
        names = ", ".join(row.name for row in found[:4]) + (" …" if len(found) > 4 else "")
        words = kind if kind == "inconclusive" else f"with {kind}"
        return f"{share} {words} against {table.baseline} ({names})"
    verb = "gain" if kind == "gain" else "lose"
    most = max(found, key=lambda row: abs(row.statistics.gain or 0.0)).statistics
    figures = gained(most.gain, table.setting.measure, most.gain_low, most.gain_high)
    if len(found) == 1:
        return f"{share} {verb}s against {table.baseline}: {most.row} {figures}"
    return f"{share} {verb} against {table.baseline}, {most.row} most: {figures}"
