"""The end of a run on the sample: what it shows, what it cannot show, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from transfer.records.wording import signed
from transfer.report import collection
from transfer.report.answer import answer, groups
from transfer.report.gains import GainRow, GainTable

_NEXT = (
    "Next, your images: transfer run --backbone {row} --data FILE.toml (docs/data.md)",
    "Next, your backbone: transfer run --backbone FILE.toml (docs/own-backbone.md)",
    "Next, the real data: transfer prepare voc0712 --root data, then transfer run --backbone {row} "
    "--data-root data",
)


def ending(
    tables: Sequence[GainTable], row: str, results: Path, published: Path | None = None
) -> list[str]:
    """Lines below the tables of a run on the sample.

    Args:
        tables: Tables of the run, one for each task.
        row: The requested backbone.
        results: Results folder of the run.
        published: The project's own results, shown if the run's folder has none on real images.
    """
    return [
        _shown(tables),
        f"All runs on the sample: {_look(results, ' --sample')}",
        *(line.format(row=row) for line in _NEXT),
        *_on_real_images(results, published),
    ]


def _shown(tables: Sequence[GainTable]) -> str:
    """What the sample shows, in a sentence, and its consequence."""
    compared = [_compared(table) for table in tables if len(table.rows) > 1]
    if not compared:
        figures = [
            f"{table.setting.task} {row.statistics.mean:.2f} {table.setting.metric}"
            for table in tables
            for row in table.rows
        ]
        return f"The run on the sample works: {', '.join(figures)}."
    return (
        f"The run on the sample works: {'; '.join(compared)}. {_claim(tables)} The "
        "sample's images are drawn, so these figures say nothing about photographs."
    )


def _compared(table: GainTable) -> str:
    baseline = table.rows[0]
    gains = ", ".join(
        f"{row.name} {signed(row.statistics.gain)}{_top1(row, baseline)}"
        for row in table.rows
        if row.name != table.baseline
    )
    return f"{table.setting.task} against {table.baseline}, {table.setting.metric}: {gains}"


def _top1(row: GainRow, baseline: GainRow) -> str:
    if row.top1 is None or baseline.top1 is None or row.top1_on != baseline.top1_on:
        return ""
    return f" (top-1 {row.top1:.1f} against {baseline.top1:.1f} %)"


def _claim(tables: Sequence[GainTable]) -> str:
    fewest = min(row.statistics.fine_tunings for table in tables for row in table.rows)
    if fewest > 1:
        return "The verdicts in the table tell how certain each gain is."
    return "One seed proves nothing: another (--seed 1) may reverse the sign."


def _on_real_images(results: Path, published: Path | None) -> list[str]:
    """The result on real images, if there are records here or the project's own."""
    if found := collection.collect(results).gains:
        return [f"Earlier result on real images: {_result(found)}", f"  All: {_look(results)}"]
    if published and (found := collection.collect(published).gains):
        return [
            f"A result that this project publishes, on real images: {_result(found)}",
            f"  All that it publishes: {_look(published)}",
        ]
    return []


def _result(found: Sequence[GainTable]) -> str:
    return " ".join(answer(next(iter(groups(found).values()))).sentences)


def _look(results: Path, of: str = "") -> str:
    usual = "" if results == Path("results") else f" --results {shlex.quote(str(results))}"
    return f"transfer report{usual}{of} --open"
