"""How long cells take on this machine, from the records that were made on its like."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from transfer.plan.cells import Cell
from transfer.plan.sizes import size_of
from transfer.report.provenance import machine
from transfer.report.records import Record

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

    def add(self, records: Iterable[Record]) -> None:
        """Take records into account; those of other hardware are passed over."""
        for record in records:
            if _like(record.content.get("hardware", {})) == self.here:
                networks = self.known.setdefault(_setting(record.cell), {})
                networks.setdefault(_network(record.cell), []).append(record)

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
        networks = self.known.get(_setting(vars(cell)), {})
        wanted = _network(vars(cell))
        if wanted in networks:
            return _estimate(networks[wanted], 1.0, same_network=True)
        own = size_of(cell.architecture)
        sizes = {network: size_of(network[0]) for network in networks}
        work = {network: size.multiply_adds for network, size in sizes.items() if size}
        if own is None or not work:
            return None
        nearest = min(work, key=lambda network: abs(work[network] - own.multiply_adds))
        scale = own.multiply_adds / work[nearest]
        return _estimate(networks[nearest], scale, same_network=False)

    def total(self, cells: Iterable[Cell]) -> tuple[float, int]:
        """Seconds of some cells, one after another, and how many cells that leaves out."""
        estimates = [self.of(cell) for cell in cells]
        known = [estimate.seconds for estimate in estimates if estimate]
        return sum(known), len(estimates) - len(known)


def _estimate(records: list[Record], scale: float, *, same_network: bool) -> Estimate:
    memory = [record.content.get("memory", {}) for record in records]
    return Estimate(
        scale * fmean(sum(record.content["seconds"].values()) for record in records),
        max((m["host"] for m in memory if "host" in m), default=None),
        max((m["gpu"] for m in memory if "gpu" in m), default=None),
        same_network,
    )


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
