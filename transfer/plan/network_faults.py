"""Networks that a run would refuse, according to a table of limits; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

from backbones.zoo.limits import limits_of
from transfer.protocols.protocols import needs_roi_head
from transfer.records.cells import Cell

_PARTS = ("model.backbone", "model.roi_head.shared_head")
"""Parts of a config that hold the network; overrides of them determine what can be built."""


def known_faults(cells: Sequence[Cell]) -> tuple[list[str], list[Cell]]:
    """Find the faults of the cells' networks.

    Returns:
        A sentence for each fault, the same as the run's message, and the cells whose network is
        not in the table.
    """
    unknown = [cell for cell in cells if not _is_known(cell)]
    known = [cell for cell in cells if _is_known(cell)]
    found = [*map(_of_pyramid, known), *map(_of_protocol, known)]
    return list(dict.fromkeys(filter(None, found))), unknown


def fault_of_cell(cell: Cell, fault: object) -> str:
    """A fault of a cell's network under its protocol, prefixed with the names of both."""
    return f"{cell.backbone}, {cell.protocol}: {fault}"


def _is_known(cell: Cell) -> bool:
    changed = any(name.startswith(_PARTS) for name, _ in cell.overrides)
    return not (cell.protocol_config or changed or limits_of(cell.architecture) is None)


def _of_pyramid(cell: Cell) -> str:
    limits = limits_of(cell.architecture)
    assert limits is not None
    return limits.pyramid


def _of_protocol(cell: Cell) -> str:
    limits = limits_of(cell.architecture)
    assert limits is not None
    if limits.roi_head and needs_roi_head(cell.task, cell.protocol):
        return fault_of_cell(cell, limits.roi_head)
    return ""
