"""The looks at the verdicts of a table, kept in the results folder so that none is forgotten.

Every table has one file, ``looks/<hash of setting and baseline>.json``, written atomically. What
was fixed beforehand, the plan and the margin, is in it too.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backbones.common.atomic_write import write_atomically
from backbones.common.errors import UserError
from backbones.common.escape import brief
from backbones.common.json_file import read_json
from backbones.common.regular_file import UnfitFile

FOLDER = "looks"
_MOST_LOOKS = 1000
_MOST_PLANNED = 20_000
_SETTING = (
    *("task", "data", "data_fingerprint", "protocol", "protocol_version", "precision"),
    "overrides",
)


class DamagedLooks(UserError):
    """A file of looks that cannot be read.

    Args:
        path: The file.
        reason: What is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        self.clause = f"the looks at this table cannot be read from '{path.absolute()}' ({reason})"
        super().__init__(
            f"{self.clause[0].upper()}{self.clause[1:]}. Without them no interval of this table is "
            "valid: restore the file, or remove it and do not use the verdicts."
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

    def joined(self, other: LookLog) -> LookLog:
        """The looks of two results folders at the same table.

        Where looks were not planned, those of both count: a look in either place is a look.

        Raises:
            ValueError: They were planned differently, or their margins differ.
        """
        if self.plan != other.plan:
            raise ValueError("the looks were planned differently")
        if self.margin != other.margin:
            raise ValueError("the margins differ")
        shorter, longer = sorted((self.looks, other.looks), key=len)
        if self.plan and longer[: len(shorter)] != shorter:
            raise ValueError("the planned looks saw different runs")
        if not self.plan:
            added = tuple(look for look in shorter if look not in longer)
            longer = tuple(sorted((*longer, *added), key=lambda look: sum(look.units.values())))
        rows = {**self.asked, **other.asked}
        asked = {row: max(self.asked.get(row, 0), other.asked.get(row, 0)) for row in rows}
        return dataclasses.replace(self, asked=asked, looks=longer)

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


def is_too_large(plan: Sequence[int], rows: int) -> bool:
    """Whether the simulated tables that the levels of a plan come from would take minutes.

    Args:
        plan: Units of each row at the planned looks; may be empty.
        rows: Rows of the table, with the baseline.
    """
    return bool(plan) and len(plan) * plan[-1] * rows > _MOST_PLANNED


def read(path: Path, baseline: str | None = None) -> LookLog | None:
    """The looks at a table; None if there was none.

    Args:
        path: The file, as :func:`path_of` gives it.
        baseline: Row that gains are computed against; None for whichever the file has.

    Raises:
        DamagedLooks: The file is damaged, not readable, or about another baseline.
    """
    try:
        log = _log(read_json(path))
    except FileNotFoundError:
        return None
    except UnfitFile as error:
        raise DamagedLooks(path, f"it {error.reason}") from error
    except OSError as error:
        raise DamagedLooks(path, error.strerror or str(error)) from error
    except KeyError as error:
        raise DamagedLooks(path, f"it lacks {brief(error)}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DamagedLooks(path, brief(error)) from error
    if baseline is not None and log.baseline != baseline:
        raise DamagedLooks(path, f"its baseline is '{brief(log.baseline)}'")
    return log


def _log(content: Any) -> LookLog:
    """The looks in a file.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: It is not the content of such a file.
    """
    if not isinstance(content, dict):
        raise TypeError("it is not a table")
    plan, margin, baseline = content["plan"], content["margin"], content["baseline"]
    if not isinstance(plan, list) or not all(type(n) is int and n >= 2 for n in plan):
        raise TypeError("its plan is not a list of numbers of units")
    if plan != sorted(set(plan)):
        raise ValueError("its plan does not increase")
    if margin is not None and (type(margin) not in (int, float) or not 0 < margin <= 100):
        raise TypeError("its margin is not a number of points")
    if not isinstance(baseline, str) or not isinstance(content["looks"], list):
        raise TypeError("it has no list of looks or no baseline")
    looks = tuple(
        Look(units=_table(look["units"], int), verdicts=_table(look["verdicts"], str))
        for look in content["looks"]
    )
    if len(looks) > _MOST_LOOKS:
        raise ValueError(f"it has more than {_MOST_LOOKS:,} looks")
    if is_too_large(plan, 1 + max((len(look.verdicts) for look in looks), default=1)):
        raise ValueError(
            f"its plan of {len(plan):,} looks at up to {plan[-1]:,} units is too large"
        )
    if plan and any(not look.verdicts for look in looks):
        raise ValueError("one of its looks has no rows")
    return LookLog(
        baseline=baseline,
        plan=tuple(plan),
        asked=_table(content.get("asked", {}), int),
        margin=margin,
        looks=looks,
    )


def write(path: Path, log: LookLog) -> None:
    """Write the looks at a table.

    Raises:
        UserError: The folder is not writable.
    """
    write_atomically(path, as_bytes(log))


def as_bytes(log: LookLog) -> bytes:
    """The content of the file of a table's looks."""
    return json.dumps(dataclasses.asdict(log), indent=1, sort_keys=True).encode()


def _table(value: Any, kind: type) -> dict[str, Any]:
    found = {str(key): one for key, one in value.items()}
    if not all(type(one) is kind for one in found.values()):
        raise TypeError("its looks are not tables of units and verdicts")
    return found
