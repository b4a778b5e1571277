"""What earlier runs left: their records, and how long they took."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from transfer.plan import probes
from transfer.plan.durations import Durations
from transfer.records import records


def read_records(results: Path, data: Iterable[str]) -> tuple[list[records.Record], list[str]]:
    """The records of some data sets, and a sentence for each that could not be read."""
    found: list[records.Record] = []
    unreadable: list[str] = []
    for name in {records.folder(results, name): name for name in data}.values():
        readable, bad = records.read_all(results, name)
        found += readable
        unreadable += bad
    return found, unreadable


def durations_of(found: Iterable[records.Record]) -> Durations:
    """Durations of these runs, and of probes."""
    durations = Durations()
    durations.add(found)
    durations.add_probes(probes.read_all())
    return durations
