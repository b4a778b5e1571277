"""Networks that a run would refuse, as far as a table of facts tells; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence

from backbones.zoo.limits import limits_of
from transfer.protocols.protocols import demands
from transfer.records.cells import Cell

_PARTS = ("model.backbone", "model.roi_head.shared_head")
"""What of a config is made of the network; overrides of it decide what can be built."""


def known_faults(cells: Sequence[Cell]) -> tuple[list[str], list[Cell]]:
    """What is wrong with the networks of cells.

    Returns:
        A sentence for each fault, as the run would tell it, and the cells of which the table cannot
        tell.
    """
    unknown = [cell for cell in cells if not _is_known(cell)]
    known = [cell for cell in cells if _is_known(cell)]
    found = [*map(_of_pyramid, known), *map(_of_protocol, known)]
    return list(dict.fromkeys(filter(None, found))), unknown


def told_of(cell: Cell, fault: object) -> str:
    """A fault of what a cell's protocol makes of its network, with the cell's names before it."""
    return f"{cell.backbone}, {cell.protocol}: {fault}"


def _is_known(cell: Cell) -> bool:
    changed = any(name.startswith(_PARTS) for name, _ in cell.overrides)
    return limits_of(cell.architecture) is not None and not changed


def _of_pyramid(cell: Cell) -> str:
    limits = limits_of(cell.architecture)
    assert limits is not None
    return limits.pyramid


def _of_protocol(cell: Cell) -> str:
    limits, asked = limits_of(cell.architecture), demands(cell.task, cell.protocol)
    assert limits is not None
    fault = (asked.stride_8 and limits.stride_8) or (asked.roi_head and limits.roi_head)
    return told_of(cell, fault) if fault else ""
