"""The table of runs an hour, one at a time and side by side, from ``transfer bench --suite``."""

from __future__ import annotations

from pathlib import Path

from backbones.common.escape import markdown
from backbones.common.json_file import read_json
from transfer.records.records import files
from transfer.report.made_part import MadePart
from transfer.report.speed_tables import NOT_WHOLE, machine_of, markdown_table, no_record

FOLDER = "suite_pace"
"""The folder of the records, beside those of runs."""

PART = MadePart("side-by-side", "transfer bench --table")
"""The part in ``docs/speed.md``."""


def text(results: Path) -> tuple[str, list[str]]:
    """The last record of each suite and machine, in Markdown.

    Returns:
        The table, and a sentence for each file that cannot be read as a record.
    """
    bad: list[str] = []
    latest: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {}
    for path in files(results / "records" / FOLDER):
        try:
            record = read_json(path)
            alone, together = record["alone"], record["together"]
            machine = machine_of(record)
            row = (
                markdown(machine),
                markdown(f"{record['suite']}"),
                f"{alone['an_hour']:.0f}",
                f"{together['an_hour']:.0f}",
                f"{together['side_by_side']:.1f}",
                f"**{together['an_hour'] / alone['an_hour']:.2f}**",
                f"{int(record['same_metrics'])} of {int(record['in_both'])}",
            )
            key = (machine, f"{record['suite']}")
            if key not in latest or latest[key][0] <= record["finished"]:
                latest[key] = (record["finished"], row)
        except NOT_WHOLE as error:
            bad.append(str(no_record(path, "transfer bench --suite", error)))
    if not latest:
        return "There are no measurements yet.\n", bad
    head = ("machine", "suite", "runs an hour, alone", "side by side", "how many", "ratio")
    rows = [latest[key][1] for key in sorted(latest)]
    return markdown_table((*head, "same metrics"), rows), bad


def write(results: Path, readme: Path) -> list[str]:
    """Write the table into ``docs/speed.md`` beside a README, where it is marked.

    Returns:
        A sentence for each file that is left out.
    """
    made, bad = text(results)
    docs = readme.parent / "docs" / "speed.md"
    if PART.is_in(docs):
        PART.put(docs, made)
    return bad
