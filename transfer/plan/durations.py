"""Time of cells on this machine, estimated from records of the same hardware."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from statistics import fmean
from typing import Any

from backbones.zoo.sizes import size_of
from transfer.records.cells import Cell
from transfer.records.provenance import machine
from transfer.records.records import Record

_Network = tuple[str, bool]  # architecture, and whether no stage is frozen
_MOST = float(1 << 50)  # seconds or bytes
_SHARED = ("task", "data", "data_fingerprint", "protocol", "protocol_version", "precision")


@dataclass(frozen=True)
class Estimate:
    """Cost of a cell.

    Attributes:
        seconds: From its start to its record.
        host_bytes: Peak memory of its process; None if no record has it.
        gpu_bytes: Peak memory on its GPU; None without a GPU or if no record has it.
        same_network: Whether the records are of the same network; otherwise the time is scaled
            by multiply-adds from another network's.
    """

    seconds: float
    host_bytes: float | None
    gpu_bytes: float | None
    same_network: bool


@dataclass
class Durations:
    """Estimates from records of the same task, data, protocol, precision, settings and hardware.

    A run that shared its card took longer than alone. So times come from the records whose number
    of runs side by side is nearest to the planned one, and memory from all records.

    Attributes:
        side_by_side: Planned number of runs on a card; without GPUs, on this machine.
    """

    side_by_side: int = 1
    known: dict[str, dict[_Network, list[Record]]] = field(default_factory=dict)
    here: dict[str, Any] = field(default_factory=lambda: _like(machine()))
    _paces: dict[str, dict[_Network, Estimate]] = field(default_factory=dict)
    _estimates: dict[tuple[str, _Network], Estimate | None] = field(default_factory=dict)

    def add(self, records: Iterable[Record]) -> None:
        """Add records; those of other hardware, and those without usable times, are ignored."""
        self._estimates.clear()
        for record in records:
            if _is_timed(record) and _like(record.content.get("hardware", {})) == self.here:
                networks = self.known.setdefault(_setting(record.cell), {})
                networks.setdefault(_network(record.cell), []).append(record)

    def set_pace(self, cell: Cell, seconds: float) -> None:
        """Add a running cell's time, extrapolated from its progress; records take precedence."""
        setting, network = _key(cell)
        estimate = Estimate(seconds, None, None, same_network=True)
        self._paces.setdefault(setting, {})[network] = estimate
        self._estimates.clear()

    def add_probes(self, probes: Iterable[Record]) -> None:
        """Add timed probes of networks that no record times."""
        self.add([one for one in probes if _is_timed(one) and not self._known(one.cell)])

    def expect(self, side_by_side: int) -> None:
        """Plan for so many runs on a card; without GPUs, on this machine."""
        self.side_by_side = side_by_side
        self._estimates.clear()

    def knows(self, cell: Cell) -> bool:
        """Whether the same network was timed here."""
        return self._known(vars(cell))

    def _known(self, cell: dict[str, Any]) -> bool:
        return _network(cell) in self.known.get(_setting(cell), {})

    def of(self, cell: Cell) -> Estimate | None:
        """Estimate for a cell; None if nothing comparable was run here."""
        key = _key(cell)
        if key not in self._estimates:  # the view asks for all waiting cells several times a second
            self._estimates[key] = self._estimate(*key)
        return self._estimates[key]

    def _estimate(self, setting: str, wanted: _Network) -> Estimate | None:
        recorded = self.known.get(setting, {})
        timed = {network: self._mean(records) for network, records in recorded.items()}
        timed = timed or self._paces.get(setting, {})
        if wanted in timed:
            return timed[wanted]
        own = size_of(wanted[0])
        sizes = {network: size_of(network[0]) for network in timed}
        work = {network: size.multiply_adds for network, size in sizes.items() if size}
        if own is None or not work:
            return None
        nearest = min(work, key=lambda network: abs(work[network] - own.multiply_adds))
        near, ratio = timed[nearest], own.multiply_adds / work[nearest]
        more = near.gpu_bytes and near.gpu_bytes * max(1.0, ratio)  # no less than the other's
        return replace(near, seconds=near.seconds * ratio, gpu_bytes=more, same_network=False)

    def _mean(self, records: list[Record]) -> Estimate:
        nearest = min(self._distance(record) for record in records)
        alike = [record for record in records if self._distance(record) == nearest]
        memory = [record.content.get("memory", {}) for record in records]
        return Estimate(
            fmean(sum(record.content["seconds"].values()) for record in alike),
            max((m["host"] for m in memory if "host" in m), default=None),
            max((m["gpu"] for m in memory if "gpu" in m), default=None),
            same_network=True,
        )

    def _distance(self, record: Record) -> int:
        """Between the runs beside a record and the planned ones; older records state no number."""
        return abs(round(record.content.get("side_by_side", 1)) - self.side_by_side)

    def total(self, cells: Iterable[Cell]) -> tuple[float, int]:
        """Total seconds of the cells that have an estimate, and the number of cells without one."""
        estimates = [self.of(cell) for cell in cells]
        known = [estimate.seconds for estimate in estimates if estimate]
        return sum(known), len(estimates) - len(known)

    def until_done(self, cells: Iterable[Cell], jobs: int) -> float:
        """Seconds until all cells with an estimate are done, each started when a job is free."""
        places = [0.0] * jobs
        for cell in cells:
            if estimate := self.of(cell):
                heapq.heapreplace(places, places[0] + estimate.seconds)
        return max(places)


@cache
def _key(cell: Cell) -> tuple[str, _Network]:
    """Everything that determines how long a cell takes."""
    return _setting(vars(cell)), _network(vars(cell))


def _setting(cell: dict[str, Any]) -> str:
    """Everything but the network that two cells must share to take equally long."""
    shared = {name: cell[name] for name in _SHARED}
    settings = {"overrides": cell.get("overrides", ()), "processes": cell.get("processes", 1)}
    return json.dumps({**shared, **settings}, sort_keys=True)


def _network(cell: dict[str, Any]) -> _Network:
    return cell["architecture"], bool(cell.get("scratch"))


def _is_timed(record: Record) -> bool:
    """Whether a record or a probe has all that an estimate reads, in the right types."""
    content = record.content
    texts = [record.cell.get(name) for name in (*_SHARED, "architecture")]
    seconds, memory = content.get("seconds"), content.get("memory", {})
    if not isinstance(seconds, dict) or not isinstance(memory, dict) or not seconds:
        return False
    if not isinstance(content.get("hardware", {}).get("gpus"), list | None):
        return False
    return all(isinstance(text, str) for text in texts) and all(
        isinstance(number, int | float) and 0 <= number <= _MOST
        for number in (*seconds.values(), *memory.values(), content.get("side_by_side", 1))
    )


def _like(hardware: dict[str, Any]) -> dict[str, Any]:
    """The hardware that determines the time of one cell, which has one GPU."""
    host = {name: hardware.get(name) for name in ("cpu", "cores", "system")}
    return {**host, "gpu": (hardware.get("gpus") or [""])[0]}
