"""Tables of speed from the records of ``transfer bench``."""

from __future__ import annotations

import functools
import itertools
import statistics
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from backbones.common.escape import brief, markdown
from backbones.common.json_file import read_json
from backbones.common.regular_file import UnfitFile
from transfer.records.records import files
from transfer.records.wording import count

LEAVING_OUT = "without "
"""Prefix of a side that leaves out a part of the speed layer, whose name follows."""

PARTS = ("start_up", "load", "forward", "backward", "step", "evaluate", "other")
"""Of the time of a side, as its record has them."""

KEYS = ("task", "data", "protocol", "backbone", "image_size", "batch_size", "precision", "images")
"""By which the work of two records is the same."""

NOT_WHOLE = (
    OSError,
    UnfitFile,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
)
"""Exceptions from a truncated file or one that is not a record."""

Bench = dict[str, Any]


def collect(results: Path) -> tuple[list[Bench], list[str]]:
    """The last record of each measurement, by work, opponent and processor.

    A complete one precedes an incomplete one.

    Returns:
        The records, and a sentence for each file that cannot be read as one.
    """
    bad: list[str] = []
    latest: dict[tuple[Any, ...], tuple[tuple[bool, str], Bench]] = {}
    for path in files(results / "records" / "bench"):
        try:
            record = read_json(path)
            key = (*(record["work"][name] for name in KEYS), record["against"], machine_of(record))
            datetime.fromisoformat(record["finished"])
            for tables in (_speeds, breakdowns, gains_of_parts):
                tables([record])  # a record that gives tables is complete
            rank = _rank(record)
        except NOT_WHOLE as error:
            bad.append(str(no_record(path, "transfer bench", error)))
            continue
        if key not in latest or latest[key][0] <= rank:
            latest[key] = rank, record
    return [latest[key][1] for key in sorted(latest, key=str)], bad


def _rank(record: Bench) -> tuple[bool, str]:
    """Whether all requested pairs are there, and when the last one ended."""
    return len(record["ours"]) >= int(record.get("asked", 0)), record["finished"]


def text(found: Sequence[Bench], same: str) -> str:
    """Tables in Markdown: the ratios, machine by machine, and equivalence.

    Args:
        found: The records of :func:`collect`.
        same: The table of :func:`differences`.
    """
    parts = _speeds(found)
    if same:
        parts += ["Equivalence of the figures, in points of the headline metric:\n", same]
    return "\n".join(parts) or "There are no measurements yet; run `transfer bench`.\n"


def _speeds(found: Sequence[Bench]) -> list[str]:
    """The ratios, machine by machine."""
    return [
        part
        for machine, records in by_machine([one for one in found if not leaves_out(one)])
        for part in (markdown(f"{machine}{_about_machine(records)}") + "\n", _ratios(records))
    ]


def breakdowns(found: Sequence[Bench]) -> str:
    """The breakdown of the time, machine by machine, in Markdown."""
    with_breakdown = [
        one for one in found if one["ours"][0].get("breakdown") and not leaves_out(one)
    ]
    parts = ["Percent of each side's own time.\n"]
    for machine, records in by_machine(with_breakdown):
        parts += [f"{markdown(machine)}\n", _breakdown(records)]
    return "\n".join(parts)


def gains_of_parts(found: Sequence[Bench]) -> str:
    """How much longer a training step takes without each part, machine by machine, in Markdown.

    Medians of steps, since the effect of a part may be smaller than a short disturbance of the
    machine. The largest gain comes first.
    """
    made = []
    for machine, records in by_machine([one for one in found if leaves_out(one)]):
        rows: list[tuple[str, ...]] = []
        for record in records:
            ratios = [
                statistics.median(other["steps"]) / statistics.median(ours["steps"])
                for ours, other in zip(record["ours"], record["other"], strict=True)
            ]
            part = markdown(record["against"].removeprefix(LEAVING_OUT))
            spread = f"{min(ratios):.2f} … {max(ratios):.2f}"
            rows.append(
                (
                    part,
                    work_of(record),
                    f"{statistics.median(ratios):.2f}",
                    spread,
                    f"{len(ratios)}",
                )
            )
        heading = ("part", "measured", "step time without ÷ with", "from … to", "pairs")
        rows.sort(key=lambda row: -float(row[2]))
        made += [f"{markdown(machine)}\n", markdown_table(heading, rows)]
    return "\n".join(made) or "There are no measurements yet.\n"


def leaves_out(record: Bench) -> bool:
    """Whether our side is compared with itself without a part."""
    against: str = record["against"]
    return against.startswith(LEAVING_OUT)


def by_machine(found: Sequence[Bench]) -> list[tuple[str, list[Bench]]]:
    """Records of each machine; the most recently measured machine first."""
    groups = [
        (machine, list(records))
        for machine, records in itertools.groupby(sorted(found, key=machine_of), key=machine_of)
    ]
    return sorted(groups, key=lambda group: _finished(group[1]), reverse=True)


def _finished(records: Sequence[Bench]) -> str:
    return max(record["finished"] for record in records)


def _about_machine(records: Sequence[Bench]) -> str:
    """A machine's ceiling, if recorded, and the commits measured on it."""
    text = ""
    if known := [record for record in records if record.get("arithmetic")]:
        text += f": {_of_ceiling(max(known, key=lambda record: record['finished']))}"
    commits = {record.get("git", {}).get("commit", "")[:7] for record in records} - {""}
    return text + (f" (commits {', '.join(sorted(commits))})" if commits else "")


def ceiling_sentence(record: Bench) -> str:
    """A sentence on the share of the machine's peak arithmetic that both sides reach."""
    ours, other = _shares(record)
    return (
        f"training takes {record['arithmetic']['operations'] / 1e12:.2f} TFLOP of convolutions and "
        f"products, and this machine's products reach {_of_ceiling(record)}: ours reaches {ours} "
        "%, "
        f"{record['against']} reaches {other} % of that"
    )


def _of_ceiling(record: Bench) -> str:
    return " and ".join(
        f"{_per_second(speed)} in {precision}"
        for precision, speed in sorted(record["arithmetic"]["ceiling"].items())
    )


def _per_second(operations: float) -> str:
    """Operations per second, as text."""
    if operations < 1e13:
        return f"{operations / 1e9:.0f} GFLOP/s"
    return f"{operations / 1e12:.0f} TFLOP/s"


def _shares(record: Bench) -> tuple[str, str]:
    """Percent of the ceiling that each side reaches, ours first; empty if not counted.

    Above 100 is possible: skipped multiplications count as if they were done.
    """
    if not (arithmetic := record.get("arithmetic")):
        return "", ""
    ours, other = (
        100
        * arithmetic["operations"]
        / arithmetic["ceiling"][arithmetic["computed_in"][side]]
        / _median(record[side], lambda run: run["seconds"]["train"])
        for side in ("ours", "other")
    )
    return f"{ours:.0f}", f"{other:.0f}"


def differences(results: Path) -> tuple[str, list[str]]:
    """A row for each record of ``transfer bench --equivalence``.

    Returns:
        The table, empty where there is no row, and a sentence for each file that cannot be read.
    """
    bad: list[str] = []
    rows: list[tuple[str, ...]] = []
    for path in files(results / "records" / "equivalence"):
        try:
            record = read_json(path)
            if "difference" not in record:
                continue  # still being measured
            work, found = record["work"], record["difference"]
            rows.append(
                (
                    markdown(f"{work['task']}, {work['data']}, {work['precision']}"),
                    markdown(f"{record['against']}"),
                    f"{found['mean']:+.2f}",
                    f"{found['low']:+.2f} … {found['high']:+.2f}",
                    f"{len(found['values'])}",
                    markdown(f"{found['verdict']}"),
                )
            )
        except NOT_WHOLE as error:
            bad.append(str(no_record(path, "transfer bench --equivalence", error)))
    head = ("default", "against", "difference", "90 % interval", "pairs", "within 0.5 points")
    return markdown_table(head, rows) if rows else "", bad


def no_record(path: Path, command: str, error: Exception) -> UserError:
    """The error for a file that a command did not write, or did not finish."""
    return UserError(
        f"'{path.absolute()}' is not a complete record of '{command}' ({type(error).__name__}: "
        f"{brief(error)}); move it away and measure again."
    )


def ratios_of(record: Bench) -> list[float]:
    """The other side's time divided by ours, pair by pair."""
    whole = _whole_of(record)
    return [
        whole(other) / whole(ours)
        for ours, other in zip(record["ours"], record["other"], strict=True)
    ]


def _whole_of(record: Bench) -> Callable[[Bench], float]:
    """The time of a run, in the parts that both sides have."""
    parts = record["ours"][0]["seconds"].keys() & record["other"][0]["seconds"].keys()
    return functools.partial(_whole, parts=parts)


def _ratios(found: list[Bench]) -> str:
    head = (
        *("measured", "against", "ours, s", "theirs, s", "ratio", "from … to"),
        *("pairs", "memory, MiB", "their memory", "our share of the ceiling, %", "their share, %"),
    )
    rows = []
    for record in found:
        whole, ratios = _whole_of(record), ratios_of(record)
        rows.append(
            (
                work_of(record),
                markdown(record["against"]),
                *(f"{_median(record[side], whole):.1f}" for side in ("ours", "other")),
                f"**{statistics.median(ratios):.2f}**",
                f"{min(ratios):.2f} … {max(ratios):.2f}",
                str(len(ratios)),
                *(f"{_median(record[side], _memory):.0f}" for side in ("ours", "other")),
                *_shares(record),
            )
        )
    return markdown_table(head, rows)


def _breakdown(found: list[Bench]) -> str:
    rows = []
    for record in found:
        for side, name in (("ours", "ours"), ("other", markdown(record["against"]))):
            runs = record[side]
            shares = (
                100
                * statistics.median(
                    run["breakdown"][part] / sum(run["breakdown"].values()) for run in runs
                )
                for part in PARTS
            )
            rows.append((work_of(record), name, *(f"{share:.1f}" for share in shares)))
    return markdown_table(("measured", "side", *(part.replace("_", "-") for part in PARTS)), rows)


def markdown_table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table without a title; cells are Markdown."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def work_of(record: Bench) -> str:
    """What was measured, in Markdown."""
    work = record["work"]
    protocol = "" if work["task"] == "classification" else f"{work['protocol']}, "
    return markdown(
        f"{work['task']}, {work['backbone']}, {work['data']}, {protocol}{work['image_size']} px, "
        f"batch {work['batch_size']}, {work['precision']}"
    )


def machine_of(record: Bench) -> str:
    """The machine of a record, for people."""
    hardware = record["hardware"]
    gpus = "".join(f", {gpu}" for gpu in hardware.get("gpus", ()))
    return f"{hardware['cpu']} ({count(hardware['cores'], 'core')}){gpus}"


def _median(runs: list[Bench], value: Callable[[Bench], float]) -> float:
    return statistics.median(value(run) for run in runs)


def _whole(run: Bench, parts: Collection[str]) -> float:
    """Seconds of the parts that both sides have; a network alone has no start-up."""
    return sum(run["seconds"][part] for part in parts)


def _memory(run: Bench) -> float:
    return run["peak_mb"]
