"""The looks at the verdicts of a table, kept in the results folder so that none is forgotten.

Every table has one file, ``looks/<hash of setting and baseline>.json``, written atomically. What
was fixed beforehand, the plan and the margin, is in it too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backbones.common.atomic_write import write_atomically
from backbones.common.errors import UserError
from backbones.common.json_file import read_json
from backbones.common.regular_file import UnfitFile

FOLDER = "looks"
_SETTING = (
    *("task", "data", "data_fingerprint", "protocol", "protocol_version", "precision"),
    "overrides",
)


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look.

    Attributes:
        units: Units of the baseline and of each row that took part.
        verdicts: The verdict of each row that took part, without the baseline.
    """

    units: dict[str, int]
    verdicts: dict[str, str]

    def agrees(self, units: Mapping[str, int]) -> bool:
        """Whether it saw as many units of every row that both have."""
        return all(self.units[row] == units[row] for row in self.units.keys() & units.keys())


@dataclass(frozen=True, kw_only=True)
class LookLog:
    """The looks at one table.

    Attributes:
        baseline: Row that gains are computed against.
        plan: Units of each row at the planned looks; empty if looks were not planned.
        asked: Runs of each row that commands without a plan have asked for.
        margin: Largest difference, in points, that does not matter; None if none was fixed.
        looks: Those taken, in order.
    """

    baseline: str
    plan: tuple[int, ...] = ()
    asked: dict[str, int] = field(default_factory=dict)
    margin: float | None = None
    looks: tuple[Look, ...] = ()

    def after(self, look: Look) -> LookLog:
        """The log with one more look."""
        return dataclasses.replace(self, looks=(*self.looks, look))

    def missing_runs(self, runs: Mapping[str, int], rows: Collection[str] | None) -> dict[str, int]:
        """Rows that lack runs that were asked for, each with their number.

        Args:
            runs: The finished runs of each row.
            rows: The rows that count; None for all.
        """
        left = {row: asked - runs.get(row, 0) for row, asked in self.asked.items()}
        return {
            row: number
            for row, number in left.items()
            if number > 0 and (rows is None or row in rows)
        }


def path_of(records_folder: Path, cell: Mapping[str, Any], baseline: str) -> Path:
    """The file of a table.

    Args:
        records_folder: Folder of the records.
        cell: The cell of any of the table's runs, as in a record.
        baseline: Row that gains are computed against.
    """
    setting = [cell.get(name) or "" for name in _SETTING]
    text = json.dumps([*setting, baseline], sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    return records_folder.parent / FOLDER / f"{name}.json"


def read(path: Path) -> LookLog | None:
    """The looks at a table; None if there was none.

    Raises:
        UserError: The file is damaged.
    """
    try:
        content = read_json(path)
        looks = tuple(
            Look(units=_table(look["units"], int), verdicts=_table(look["verdicts"], str))
            for look in content["looks"]
        )
        plan, margin = content["plan"], content["margin"]
        if not isinstance(plan, list) or not all(type(n) is int and n >= 2 for n in plan):
            raise TypeError("plan")
        if margin is not None and type(margin) not in (int, float):
            raise TypeError("margin")
        if plan != sorted(set(plan)):
            raise ValueError("plan")
        return LookLog(
            baseline=str(content["baseline"]),
            plan=tuple(plan),
            asked=_table(content.get("asked", {}), int),
            margin=margin,
            looks=looks,
        )
    except FileNotFoundError:
        return None
    except (OSError, UnfitFile, LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"The looks at a table cannot be read from '{path.absolute()}' ({error}). Without them "
            "no interval of this table is valid: restore the file, or remove it and do not use the "
            "verdicts."
        ) from error


def write(path: Path, log: LookLog) -> None:
    """Write the looks at a table.

    Raises:
        UserError: The folder is not writable.
    """
    text = json.dumps(dataclasses.asdict(log), indent=1, sort_keys=True)
    write_atomically(path, text.encode())


def _table(value: Any, kind: type) -> dict[str, Any]:
    found = {str(key): one for key, one in value.items()}
    if not all(type(one) is kind for one in found.values()):
        raise TypeError(f"not all of {kind.__name__}")
    return found
