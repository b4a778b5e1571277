"""How long cells take on this machine, from the records that were made on its like."""

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

_Network = tuple[str, bool]  # architecture, and whether nothing of it is frozen
_SHARED = ("task", "data", "data_fingerprint", "protocol", "protocol_version", "precision")


@dataclass(frozen=True)
class Estimate:
    """What a cell will take.

    Attributes:
        seconds: From its start to its record.
        host_bytes: Peak memory of its process; None where no record says.
        gpu_bytes: Peak memory on its GPU; None where there is none or no record says.
        same_network: Whether records of this very network say so; else it is scaled by
            multiply-adds from another network's.
    """

    seconds: float
    host_bytes: float | None
    gpu_bytes: float | None
    same_network: bool


@dataclass
class Durations:
    """Estimates from records of the same task, data, protocol, precision, settings and hardware."""

    known: dict[str, dict[_Network, list[Record]]] = field(default_factory=dict)
    here: dict[str, Any] = field(default_factory=lambda: _like(machine()))
    _paces: dict[str, dict[_Network, Estimate]] = field(default_factory=dict)
    _told: dict[tuple[str, _Network], Estimate | None] = field(default_factory=dict)

    def add(self, records: Iterable[Record]) -> None:
        """Take records into account; those of other hardware are passed over."""
        self._told.clear()
        for record in records:
            if _like(record.content.get("hardware", {})) == self.here:
                networks = self.known.setdefault(_setting(record.cell), {})
                networks.setdefault(_network(record.cell), []).append(record)

    def set_pace(self, cell: Cell, seconds: float) -> None:
        """What a running cell will take by how far it is; it counts where no record tells."""
        setting, network = _key(cell)
        told = Estimate(seconds, None, None, same_network=True)
        self._paces.setdefault(setting, {})[network] = told
        self._told.clear()

    def add_probes(self, probes: Iterable[Record]) -> None:
        """Take timed probes into account where no record says how long a network takes."""
        self.add([probe for probe in probes if not self._known(probe.cell)])

    def knows(self, cell: Cell) -> bool:
        """Whether this very network was timed here."""
        return self._known(vars(cell))

    def _known(self, cell: dict[str, Any]) -> bool:
        return _network(cell) in self.known.get(_setting(cell), {})

    def of(self, cell: Cell) -> Estimate | None:
        """What a cell will take; None where nothing like it was run here."""
        key = _key(cell)
        if key not in self._told:  # the view asks for all that wait, several times a second
            self._told[key] = self._estimate(*key)
        return self._told[key]

    def _estimate(self, setting: str, wanted: _Network) -> Estimate | None:
        recorded = self.known.get(setting, {})
        timed = {network: _mean(records) for network, records in recorded.items()}
        timed = timed or self._paces.get(setting, {})
        if wanted in timed:
            return timed[wanted]
        own = size_of(wanted[0])
        sizes = {network: size_of(network[0]) for network in timed}
        work = {network: size.multiply_adds for network, size in sizes.items() if size}
        if own is None or not work:
            return None
        nearest = min(work, key=lambda network: abs(work[network] - own.multiply_adds))
        seconds = timed[nearest].seconds * own.multiply_adds / work[nearest]
        return replace(timed[nearest], seconds=seconds, same_network=False)

    def total(self, cells: Iterable[Cell]) -> tuple[float, int]:
        """Seconds of some cells, one after another, and how many cells that leaves out."""
        estimates = [self.of(cell) for cell in cells]
        known = [estimate.seconds for estimate in estimates if estimate]
        return sum(known), len(estimates) - len(known)

    def until_done(self, cells: Iterable[Cell], jobs: int) -> float:
        """Seconds until all cells are done that can be told of, each begun as a place gets free."""
        places = [0.0] * jobs
        for cell in cells:
            if estimate := self.of(cell):
                heapq.heapreplace(places, places[0] + estimate.seconds)
        return max(places)


def _mean(records: list[Record]) -> Estimate:
    memory = [record.content.get("memory", {}) for record in records]
    return Estimate(
        fmean(sum(record.content["seconds"].values()) for record in records),
        max((m["host"] for m in memory if "host" in m), default=None),
        max((m["gpu"] for m in memory if "gpu" in m), default=None),
        same_network=True,
    )


@cache
def _key(cell: Cell) -> tuple[str, _Network]:
    """What decides how long a cell takes."""
    return _setting(vars(cell)), _network(vars(cell))


def _setting(cell: dict[str, Any]) -> str:
    """What two cells must share to take as long."""
    shared = {name: cell[name] for name in _SHARED}
    told = {"overrides": cell.get("overrides", ()), "processes": cell.get("processes", 1)}
    return json.dumps({**shared, **told}, sort_keys=True)


def _network(cell: dict[str, Any]) -> _Network:
    return cell["architecture"], cell.get("scratch", False)


def _like(hardware: dict[str, Any]) -> dict[str, Any]:
    """The part of a machine that decides on the time of one cell, which has one GPU."""
    told = {name: hardware.get(name) for name in ("cpu", "cores", "system")}
    return {**told, "gpu": (hardware.get("gpus") or [""])[0]}
