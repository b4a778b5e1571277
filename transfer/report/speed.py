"""The README's tables of speed, made from the records of ``transfer bench``."""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from backbones.errors import UserError
from transfer.report.made_part import MadePart

PART = MadePart("speed", "transfer bench --table")

_PARTS = ("start_up", "load", "forward", "backward", "step", "evaluate", "other")
_KEYS = ("task", "data", "protocol", "backbone", "image_size", "batch_size", "precision", "images")

Bench = dict[str, Any]


def collect(results: Path) -> list[Bench]:
    """The last record of each measurement: of each work, other side and processor.

    Raises:
        UserError: A record cannot be read.
    """
    latest: dict[tuple[Any, ...], Bench] = {}
    for path in sorted((results / "records" / "bench").glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            key = (*(record["work"][name] for name in _KEYS), record["against"], _machine(record))
            record["ours"][0]["seconds"], record["other"][0]["seconds"], record["finished"]
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise no_record(path, "transfer bench", error) from error
        if key not in latest or latest[key]["finished"] <= record["finished"]:
            latest[key] = record
    return [latest[key] for key in sorted(latest, key=str)]


def text(results: Path) -> str:
    """Tables in Markdown: the ratios, where the time of a cell goes, and equivalence."""
    parts = _speeds(found) if (found := collect(results)) else []
    if same := _differences(results):
        parts += ["Whether the figures are the same, in points of the headline metric:\n", same]
    return "\n".join(parts) or "Nothing is measured yet: `transfer bench` does.\n"


def _speeds(found: list[Bench]) -> list[str]:
    machines = "; ".join(sorted({_machine(record) for record in found}))
    parts = [
        f"Medians of alternating pairs, loading, training and evaluation together, on {machines}. "
        "A ratio is the other side's time over ours, pair by pair.\n",
        _ratios(found),
    ]
    told = [record for record in found if record["ours"][0].get("breakdown")]
    if told:
        parts += ["Where the time goes, in percent of each side's own:\n", _breakdown(told)]
    return parts


def _differences(results: Path) -> str:
    """A line for each record of ``transfer bench --equivalence``; empty where there is none."""
    rows: list[tuple[str, ...]] = []
    for path in sorted((results / "records" / "equivalence").glob("*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if "difference" not in record:
                continue  # still being measured
            work, found = record["work"], record["difference"]
            rows.append(
                (
                    f"{work['task']}, {work['data']}, {work['precision']}",
                    f"{record['against']}",
                    f"{found['mean']:+.2f}",
                    f"{found['low']:+.2f} … {found['high']:+.2f}",
                    f"{len(found['values'])}",
                    f"{found['verdict']}",
                )
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise no_record(path, "transfer bench --equivalence", error) from error
    head = ("default", "against", "difference", "90 % interval", "pairs", "within 0.5 points")
    return _table(head, rows) if rows else ""


def no_record(path: Path, command: str, error: Exception) -> UserError:
    """The sentence for a file that a command did not write, or not whole."""
    return UserError(
        f"'{path}' is no record of '{command}' ({type(error).__name__}: {error}); move it away and "
        "measure again."
    )


def _ratios(found: list[Bench]) -> str:
    head = (
        *("measured", "against", "ours, s", "theirs, s", "ratio", "from … to"),
        *("pairs", "memory, MiB", "theirs"),
    )
    rows = []
    for record in found:
        parts = record["ours"][0]["seconds"].keys() & record["other"][0]["seconds"].keys()
        whole = functools.partial(_whole, parts=parts)
        ratios = [
            whole(other) / whole(ours)
            for ours, other in zip(record["ours"], record["other"], strict=True)
        ]
        rows.append(
            (
                _work(record),
                record["against"],
                *(f"{_median(record[side], whole):.1f}" for side in ("ours", "other")),
                f"**{statistics.median(ratios):.2f}**",
                f"{min(ratios):.2f} … {max(ratios):.2f}",
                str(len(ratios)),
                *(f"{_median(record[side], _memory):.0f}" for side in ("ours", "other")),
            )
        )
    return _table(head, rows)


def _breakdown(found: list[Bench]) -> str:
    rows = []
    for record in found:
        for side, name in (("ours", "ours"), ("other", record["against"])):
            runs = record[side]
            shares = (
                100
                * statistics.median(
                    run["breakdown"][part] / sum(run["breakdown"].values()) for run in runs
                )
                for part in _PARTS
            )
            rows.append((_work(record), name, *(f"{share:.1f}" for share in shares)))
    return _table(("measured", "side", *(part.replace("_", "-") for part in _PARTS)), rows)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _work(record: Bench) -> str:
    work = record["work"]
    protocol = "" if work["task"] == "classification" else f"{work['protocol']}, "
    return (
        f"{work['task']}, {work['backbone']}, {work['data']}, {protocol}{work['image_size']} px, "
        f"batch {work['batch_size']}, {work['precision']}"
    )


def _machine(record: Bench) -> str:
    hardware = record["hardware"]
    return f"{hardware['cpu']} ({hardware['cores']} cores)"


def _median(runs: list[Bench], told: Callable[[Bench], float]) -> float:
    return statistics.median(told(run) for run in runs)


def _whole(run: Bench, parts: Collection[str]) -> float:
    """Seconds of the parts that both sides have: a network alone has no start-up."""
    return sum(run["seconds"][part] for part in parts)


def _memory(run: Bench) -> float:
    return run["peak_mb"]
