"""From a suite to its cells."""

from __future__ import annotations

import difflib
import shlex
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.paths import expanded
from backbones.common.regular_file import is_hidden
from backbones.common.resources import cache_dir
from backbones.zoo import zoo
from transfer.datasets import catalogue
from transfer.plan.request import (
    Plan,
    Request,
    by_name,
    fingerprint,
    make_cell,
    read_own,
    served,
    served_by,
)
from transfer.plan.shards import Shard, share
from transfer.plan.suites import Suite, SuiteRow
from transfer.protocols.protocol_files import is_own, is_packaged
from transfer.protocols.protocols import TASKS
from transfer.records.cells import Cell
from transfer.records.settings import LENGTHS

_GOES_ON = " The rest continues."


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Changes to a suite from the command line.

    Attributes:
        data_root: Folder of the data sets.
        tasks: Only these.
        data: ``"auto"`` for the suite's.
        protocol: ``"auto"`` for the suite's.
        precision: ``"auto"`` for the suite's.
        seeds: Fine-tunings of each classifier, with seeds from 0 on; None for the suite's seeds.
        units: Units of each row, with seeds from 0 on: fine-tunings of its classifier, or as many
            classifiers, fine-tuned once each; None to follow the seeds.
        only: Pattern or part of cells' names; empty for all.
        shard: The shard of those cells that runs here; None for all.
        processes: Number of processes that train a cell together.
        without_data: Also plan cells whose data set is not on this machine, to estimate their cost.
    """

    data_root: Path
    tasks: tuple[str, ...] = TASKS
    data: str = "auto"
    protocol: str = "auto"
    precision: str = "auto"
    seeds: int | None = None
    units: int | None = None
    only: str = ""
    shard: Shard | None = None
    processes: int = 1
    without_data: bool = False


def make_suite_plan(suite: Suite, choice: Choice) -> Plan:
    """The cells of a suite: task by task and seed by seed, so that the first table comes early.

    A row whose weights are neither public nor given is left out, with a remark on how to train
    them. A task whose data set is not on this machine is left out too.

    Raises:
        UserError: Unknown row, protocol or data set, two rows with the same name, a duplicate cell,
            or nothing to run.
    """
    return _Planner(suite, choice).plan()


@dataclass(frozen=True)
class _Source:
    """A classifier: a file or the row's weights, with the seed if it is trained on the sample."""

    weights: str = "auto"
    seed: int = 0


class _Untrained(Exception):
    """A row must be trained before it can be fine-tuned."""


class _Planner:
    def __init__(self, suite: Suite, choice: Choice) -> None:
        self.suite = suite
        self.choice = choice
        self.rows = {row.backbone: zoo.find(row.backbone) for row in suite.rows}
        self.protocol = _confirmed(suite, choice)
        self.own_protocol = read_own(self.protocol)
        self.data = dict(suite.data) if choice.data == "auto" else dict.fromkeys(TASKS, choice.data)
        self.remarks: list[str] = []

    def plan(self) -> Plan:
        rows = self._rows_by_name()
        tasks = self._tasks()
        cells = [
            cell
            for task in tasks
            if (lists := self._fingerprint(task)) is not None
            for cell in self._cells(task, lists)
        ]
        if self.choice.seeds is None and self.choice.units is None:
            self._refuse_repeated(cells)
        else:  # rows that differed only in their seeds have become equal
            cells = list({cell.id: cell for cell in cells}.values())
        chosen = [cell for cell in cells if _is_chosen(cell, self.choice.only)]
        if not chosen:
            raise UserError(self._why_nothing(cells, tasks))
        if shard := self.choice.shard:
            chosen = self._share(chosen, shard)
        notes = [f"{row.name} {row.note}." for row in rows.values() if row.alias_of or row.rename]
        return Plan(
            cells=tuple(chosen),
            rows=rows,
            baseline=self._baseline(),
            margin=self.suite.margin,
            variant=self.suite.variant,
            remarks=tuple(dict.fromkeys((*notes, *self.remarks, *self._other_lengths()))),
            data=by_name(self.data.values()),
        )

    def _rows_by_name(self) -> dict[str, zoo.Variant]:
        """The rows by their names in records; a suite may list a row several times."""
        named: dict[str, str] = {}
        for asked, row in self.rows.items():
            first = named.setdefault(row.name, asked)
            if self.rows[first] != row:
                raise UserError(
                    f"The suite '{self.suite.path}' has two backbones with the same name: "
                    f"'{first}' and "
                    f"'{asked}' are both called '{row.name}' in records and tables. A backbone "
                    "has the "
                    "name of its file, unless the file gives a 'name': rename one of them."
                )
        return {name: self.rows[asked] for name, asked in named.items()}

    def _tasks(self) -> list[str]:
        """The requested tasks that rows take part in and data sets support."""
        taken = tuple(
            task for task in self.choice.tasks if any(task in row.tasks for row in self.suite.rows)
        )
        if self.own_protocol and taken:
            taken = served_by(self.own_protocol, taken, self.remarks)
        asked = [task for task in taken if task in self.data]
        self.remarks += [
            f"The suite names no data set for {task}, so this task is left out."
            for task in taken
            if task not in self.data
        ]
        has: list[str] = []
        for data in dict.fromkeys(self.data[task] for task in asked):
            those = tuple(task for task in asked if self.data[task] == data)
            here = self._is_here(data)
            has += served(those, data, self.choice.data_root, self.remarks) if here else those
        return [task for task in asked if task in has]

    def _is_here(self, data: str) -> bool:
        """Whether a data set is on this machine; the catalogue reports faults of one's own."""
        named = data in catalogue.names() and data != catalogue.SAMPLE
        return not named or catalogue.found(data, self.choice.data_root)

    def _other_lengths(self) -> list[str]:
        """A remark on a training length that was changed without its schedule."""
        return [
            f"{task.capitalize()}: the suite sets {length} but not param_scheduler, so the "
            "learning "
            "rate keeps the schedule of the protocol's own length; 'epochs' changes both "
            "(docs/suites.md)."
            for task in self.choice.tasks
            if task in self.data
            for length in LENGTHS
            if any(
                length in settings
                and not any(key.startswith("param_scheduler") for key in settings)
                for settings in map(dict, self.suite.settings[task])
            )
        ]

    def _share(self, cells: list[Cell], shard: Shard) -> list[Cell]:
        """The cells of the chosen shard."""
        mine = list(share(cells, shard))
        if not mine:
            raise UserError(
                f"Shard {shard.number}/{shard.of} is empty: the suite '{self.suite.name}' has only "
                f"{len(cells)} cells. Start at most that many shards."
            )
        self.remarks.append(
            f"Shard {shard.number} of {shard.of}: {len(mine)} of {len(cells)} cells."
        )
        return mine

    def _baseline(self) -> str:
        baseline = self.suite.baseline
        if baseline and baseline not in self.rows:
            raise UserError(
                f"The baseline '{baseline}' of the suite '{self.suite.path}' is not one of its "
                "rows "
                f"({', '.join(self.rows)})."
            )
        return self.rows[baseline].name if baseline else ""

    def _fingerprint(self, task: str) -> str | None:
        """Fingerprint of the task's data set; None, with a remark, if it is not on this machine."""
        data = self.data[task]
        if self._is_here(data):
            return fingerprint(data, self.choice.data_root, task)
        self.remarks.append(
            f"{data} was not found under '{self.choice.data_root}': {task} "
            + ("cannot run yet" if self.choice.without_data else "is left out")
            + f". The head of configs/datasets/{data}.toml describes the data set; 'transfer "
            "prepare' "
            "downloads the public ones."
        )
        return "" if self.choice.without_data else None

    def _cells(self, task: str, lists: str) -> list[Cell]:
        """The cells of one task, ordered by seed, then by row."""
        cells = []
        for row in self.suite.rows:
            if task not in row.tasks:
                continue
            try:
                sources = self._sources(row)
            except _Untrained as error:
                self.remarks.append(str(error))
                continue
            for source, seeds in zip(sources, self._seeds(row, len(sources)), strict=True):
                request = self._request(row.backbone, self.data[task], source)
                cell = make_cell(request, self.rows[row.backbone], task, lists)
                cells += [
                    replace(cell, seed=seed, overrides=overrides)
                    for overrides in self.suite.settings[task]
                    for seed in seeds
                ]
        return sorted(cells, key=lambda cell: cell.seed)

    def _seeds(self, row: SuiteRow, classifiers: int) -> list[tuple[int, ...]]:
        """The seeds of each classifier of a row: dealt in turn, so that none has another's.

        The i-th classifier of every row is fine-tuned with the i-th seed: its units are independent
        within the row, and paired across rows. A single seed is for all classifiers.

        Raises:
            UserError: Several seeds, but fewer than classifiers.
        """
        seeds = row.seeds or tuple(range(classifiers))
        if (units := self.choice.units) is not None:
            if 1 < classifiers < units:
                raise UserError(
                    f"--looks plans up to {units} units of each row, but '{row.backbone}' has "
                    f"{classifiers} classifiers, each of which is one unit: train more, or end "
                    f"--looks at {classifiers}."
                )
            if classifiers == 1:
                return [tuple(range(units))]
            return [(place,) if place < units else () for place in range(classifiers)]
        if self.choice.seeds is not None:
            seeds = tuple(range(self.choice.seeds * classifiers))
        if len(seeds) == 1:
            return [seeds] * classifiers
        if len(seeds) < classifiers:
            raise UserError(
                f"The suite '{self.suite.path}' has {classifiers} classifiers of "
                f"'{row.backbone}' but {len(seeds)} seeds. The i-th classifier is fine-tuned with "
                "the i-th seed: give one seed for each, or a single seed for all, or leave out "
                "'seeds'."
            )
        return [seeds[place::classifiers] for place in range(classifiers)]

    def _request(self, backbone: str, data: str, source: _Source) -> Request:
        suite, choice = self.suite, self.choice
        return Request(
            backbone=backbone,
            tasks=choice.tasks,
            against="none",
            data=data,
            data_root=choice.data_root,
            protocol=self.protocol,
            own_protocol=self.own_protocol,
            weights=source.weights,
            precision=suite.precision if choice.precision == "auto" else choice.precision,
            seed=0,
            classifier_seed=source.seed,
            processes=choice.processes,
        )

    def _sources(self, entry: SuiteRow) -> list[_Source]:
        """The classifiers of a row.

        Raises:
            _Untrained: They are not trained yet.
            UserError: The row has none, or a file is damaged.
        """
        row = self.rows[entry.backbone]
        if row.scratch and entry.classifiers:
            raise UserError(
                f"The suite '{self.suite.path}' lists classifiers for '{row.name}', which starts "
                "from random weights: remove them, or list them for the row that they belong to."
            )
        if row.scratch:
            return [_Source()]
        if entry.classifiers:
            return [_Source(str(path)) for path in self._files(entry)]
        if catalogue.SAMPLE in self.data.values() and row.recipe:
            return [_Source(seed=seed) for seed in entry.classifier_seeds]
        if row.weights is None and row.own:
            raise _Untrained(
                f"{row.name} has no weights: name them in its file, or as the row's classifiers; "
                "to "
                f'start from random weights, set weights = "random".{_GOES_ON}'
            )
        if row.weights is None:
            raise _Untrained(
                f"{row.name} needs training because its weights are not public: "
                f"'{row.how_to_train()}'. "
                f"Then list the file as the row's classifiers in your own suite file.{_GOES_ON}"
            )
        return [_Source()]

    def _files(self, entry: SuiteRow) -> list[Path]:
        """The files of a row's patterns, each once."""
        found: dict[Path, None] = {}
        for pattern in entry.classifiers:
            wanted = expanded(pattern)
            places = (self.suite.path.parent, cache_dir() / "classifiers")
            matches = next((m for place in places if (m := _matches(place, wanted))), [])
            if not matches:
                self.remarks.append(
                    f"{entry.backbone} needs training: no classifier matches '{pattern}' in "
                    f"'{places[0]}' or '{places[1]}'.{_GOES_ON}"
                )
            found.update(dict.fromkeys(matches))
        return list(found)

    def _refuse_repeated(self, cells: list[Cell]) -> None:
        seen: set[str] = set()
        for cell in cells:
            if cell.id in seen:
                raise UserError(
                    f"The suite '{self.suite.path}' contains the cell {cell.name} twice: a row "
                    "with "
                    "the same classifier and seed is listed more than once."
                )
            seen.add(cell.id)

    def _why_nothing(self, cells: list[Cell], tasks: list[str]) -> str:
        if not cells:
            reasons = dict.fromkeys(r.removesuffix(_GOES_ON) for r in self.remarks)
            if not tasks:
                asked = " and ".join(self.choice.tasks)
                reasons[f"Its data sets and rows do not support {asked}."] = None
            return f"No run of the suite '{self.suite.name}' can start. " + " ".join(reasons)
        known = sorted({cell.name for cell in cells})
        near = difflib.get_close_matches(self.choice.only, known, n=2, cutoff=0.3) or known[:2]
        return (
            f"No run of the suite '{self.suite.name}' matches --only '{self.choice.only}'; its "
            "runs "
            f"have names such as {' and '.join(near)}."
        )


def _confirmed(suite: Suite, choice: Choice) -> str:
    """The protocol of a suite, or of the command line.

    Raises:
        UserError: A suite alone names a file, which would be executed.
    """
    if choice.protocol != "auto":
        return choice.protocol
    if is_own(suite.protocol) and not is_packaged(suite.protocol):
        raise UserError(
            f"The suite '{suite.path}' names a protocol in a file, which is Python code and runs "
            "when it is loaded. Read the file, then confirm with "
            f"--protocol {shlex.quote(suite.protocol)}."
        )
    return suite.protocol


def _matches(place: Path, pattern: Path) -> list[Path]:
    """Files that match a pattern; an absolute pattern ignores the folder."""
    if pattern.is_absolute():
        place, pattern = Path(pattern.anchor), pattern.relative_to(pattern.anchor)
    try:
        return sorted(p for p in place.glob(str(pattern)) if p.is_file() and not is_hidden(p))
    except ValueError as error:
        raise UserError(f"'{pattern}' is not a valid file pattern ({error}).") from error


def _is_chosen(cell: Cell, only: str) -> bool:
    """Whether a pattern matches a cell; without wildcards, any part of its name matches."""
    name = f"{cell.name}_{cell.id}"
    return only in name or fnmatchcase(name, only)
