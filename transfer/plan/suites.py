"""Suites: TOML files that list rows, tasks, data sets and seeds to run together.

.. code-block:: toml

    kind = "transfer"
    tasks = ["detection", "segmentation"]
    data = { detection = "voc0712", segmentation = "ade20k" }   # or one name for both
    protocol = "paper"
    seeds = [0, 1, 2]                       # of the fine-tunings
    epochs = { detection = 8 }              # or one number for both; the schedule follows
    baseline = "resnet50_baseline"
    margin = 0.5                            # points; a gain within it does not matter
    rows = [
      "resnet50_baseline",                  # its public weights
      { backbone = "resnet50d_mixup", classifiers = ["mixup_s*.safetensors"], seeds = [0] },
    ]

    [overrides.detection]                   # of the config, the same for all rows
    "train_cfg.max_epochs" = 6

    [vary.detection]                        # one table for each of these values
    "optim_wrapper.optimizer.lr" = [0.01, 0.02]

A row's ``classifiers`` are files, or patterns of files. The i-th is fine-tuned with the i-th seed,
in every row; a single seed is for all. The files are searched beside the suite's file, then in the
output folder of ``backbones/train.py``.
``classifier_seeds`` does the same on the sample, where missing classifiers are trained.
``variant`` names the overrides for titles.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from backbones.common.escape import brief
from backbones.common.hardware import PRECISIONS
from backbones.common.near_names import suggestion
from backbones.common.paths import expanded, is_file, unknown_name
from backbones.common.resources import resource_dir
from backbones.common.seeds import MAX_SEED
from backbones.common.toml_file import read_toml
from transfer.compat.foreign_configs import fault_of_setting
from transfer.plan.request import DEFAULT_DATA
from transfer.protocols.protocol_files import is_own, is_packaged
from transfer.protocols.protocols import TASKS
from transfer.records.settings import EPOCHS, LENGTHS, WITHOUT

KIND = "transfer"

_MOST_SETTINGS = 1000  # names in a table, and combinations of varied values
_MOST_RUNS = 100_000

Overrides = tuple[tuple[str, Any], ...]
"""Settings of the config, by their dotted names."""


@dataclass(frozen=True, kw_only=True)
class SuiteRow:
    """One entry of a suite's rows.

    Attributes:
        backbone: Row of the zoo, ``timm/<name>``, or a user's ``.toml``.
        classifiers: Files or patterns of files; empty for the row's public weights.
        classifier_seeds: Seeds of classifiers trained on the sample.
        seeds: Seeds of its fine-tunings, dealt to its classifiers in turn; empty for the i-th seed
            from 0 with the i-th classifier.
        tasks: Tasks that it takes part in.
    """

    backbone: str
    classifiers: tuple[str, ...]
    classifier_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    tasks: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The content of a suite file.

    Attributes:
        name: File name without its extension.
        path: The file; relative files and patterns in it start from its folder.
        rows: In run order.
        data: Data set or ``.toml`` file of each task.
        protocol: ``"auto"``, a protocol's name, or a config of the user's own.
        precision: ``"auto"`` or a precision.
        baseline: Row that gains are computed against, or empty.
        margin: Largest difference, in points, that does not matter; None if none is fixed.
        variant: Name of its settings for titles, or empty.
        settings: For each task, the sets of overrides that its cells run with.
    """

    name: str
    path: Path
    rows: tuple[SuiteRow, ...]
    data: Mapping[str, str]
    protocol: str
    precision: str
    baseline: str
    margin: float | None
    variant: str
    settings: Mapping[str, tuple[Overrides, ...]]


def names() -> list[str]:
    """The names of the suites in ``configs/suites``."""
    kinds = {path.stem: _parse(path).get("kind") for path in _folder().glob("*.toml")}
    return sorted(name for name, kind in kinds.items() if kind == KIND)


def load(name: str) -> Suite:
    """Read a suite of ``configs/suites`` by name, or a user's own file.

    Raises:
        UserError: Not found, malformed, or with an entry that is unknown or of the wrong type.
    """
    path = expanded(name) if name.endswith(".toml") else _folder() / f"{name}.toml"
    if not is_file(path):
        raise unknown_name("suite", name, names())
    content = _parse(path)
    kind = content.pop("kind", None)
    if kind == "classification":
        raise UserError(
            f"The suite '{path}' trains classifiers; run it with 'python backbones/train.py "
            f"--suite {name}'."
        )
    if kind != KIND:
        raise UserError(f"The suite '{path}' must set kind = \"{KIND}\"; it sets {kind!r}.")
    return _Reader(path).suite(content)


class _Reader:
    """Checks each entry of a suite file and reports the wrong one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def suite(self, content: dict[str, Any]) -> Suite:
        self._known(content, (*_OF_SUITES, EPOCHS, "overrides", "vary"), "")
        tasks = self._tasks(content.get("tasks", list(TASKS)), "tasks")
        entries = content.get("rows")
        if not isinstance(entries, list) or not entries:
            raise self._wrong("rows", "a non-empty list of rows")
        rows = tuple(self._row(entry, content, tasks) for entry in entries)
        settings = self._settings(content)
        runs = sum(
            max(len(row.seeds), 1) * len(settings[task]) for row in rows for task in row.tasks
        )
        if runs > _MOST_RUNS:
            raise UserError(
                f"The suite '{self.path}' asks for {runs:,} runs, more than the {_MOST_RUNS:,} "
                "that are planned: use fewer seeds, rows or varied values."
            )
        return Suite(
            name=self.path.stem,
            path=self.path,
            rows=rows,
            data=self._data(content.get("data", DEFAULT_DATA)),
            protocol=self._protocol(content.get("protocol", "auto")),
            precision=self._precision(content.get("precision", "auto")),
            baseline=self._beside(self._text(content.get("baseline", ""), "baseline")),
            margin=self._margin(content.get("margin")),
            variant=self._variant(content),
            settings=settings,
        )

    def _row(self, entry: Any, suite: dict[str, Any], tasks: tuple[str, ...]) -> SuiteRow:
        table = {"backbone": entry} if isinstance(entry, str) else entry
        if not isinstance(table, dict) or not isinstance(table.get("backbone"), str):
            raise self._wrong("rows", 'names of rows, or tables with a "backbone"')
        name = table["backbone"]
        self._known(table, ("backbone", "classifiers", "tasks", *_OF_A_ROW), f" of row '{name}'")
        files = table.get("classifiers", [])
        files = [files] if isinstance(files, str) else files
        if not isinstance(files, list) or not all(isinstance(f, str) and f for f in files):
            raise self._wrong("classifiers", "file names or patterns")
        return SuiteRow(
            backbone=self._beside(name),
            classifiers=tuple(files),
            classifier_seeds=self._seeds(table, suite, "classifier_seeds") or (0,),
            seeds=self._seeds(table, suite, "seeds"),
            tasks=self._tasks(table.get("tasks", list(tasks)), "tasks"),
        )

    def _seeds(self, row: dict[str, Any], suite: dict[str, Any], key: str) -> tuple[int, ...]:
        seeds = row.get(key, suite.get(key))
        if seeds is None:
            return ()
        if not isinstance(seeds, list) or not seeds:
            raise self._wrong(key, "a non-empty list of integers")
        if not all(type(seed) is int and 0 <= seed <= MAX_SEED for seed in seeds):
            raise self._wrong(key, f"integers from 0 to {MAX_SEED}")
        return tuple(self._once(seeds, key))

    def _tasks(self, tasks: Any, key: str) -> tuple[str, ...]:
        if not isinstance(tasks, list) or not tasks or not set(map(str, tasks)) <= set(TASKS):
            raise self._wrong(key, f"a list of {' and '.join(TASKS)}")
        return tuple(self._once(tasks, key))

    def _data(self, data: Any) -> dict[str, str]:
        if isinstance(data, str) and data:
            return dict.fromkeys(TASKS, self._beside(data))
        if not isinstance(data, dict) or not data or not set(data) <= set(TASKS):
            raise self._wrong("data", "a data set's name, or one for each task")
        return {task: self._beside(self._text(name, f"data.{task}")) for task, name in data.items()}

    def _beside(self, name: str) -> str:
        """A user's file is relative to the suite's; a suffix may ask for shuffled weights."""
        file = name.removesuffix("_shuffled").removesuffix("_scratch")
        return str(self.path.parent / name) if file.endswith(".toml") else name

    def _protocol(self, value: Any) -> str:
        """A name, a file relative to the suite's, or a config of a package."""
        name = self._text(value, "protocol")
        is_file = is_own(name) and not is_packaged(name)
        return str(self.path.parent / expanded(name)) if is_file else name

    def _epochs(self, epochs: Any, task: str) -> dict[str, int]:
        """The training length of a task as a setting; empty if it is the protocol's."""
        if isinstance(epochs, dict):
            if not set(epochs) <= set(TASKS):
                raise self._wrong(EPOCHS, f"a number, or one each for {' and '.join(TASKS)}")
            epochs = epochs.get(task)
        return {} if epochs is None else {EPOCHS: epochs}

    def _settings(self, content: dict[str, Any]) -> dict[str, tuple[Overrides, ...]]:
        return {
            task: tuple(
                tuple(sorted((k, _frozen(v)) for k, v in {**fixed, **dict(varied)}.items()))
                for varied in self._combinations(content, task, fixed)
            )
            for task in TASKS
            for fixed in [self._fixed(content, task)]
        }

    def _fixed(self, content: dict[str, Any], task: str) -> dict[str, Any]:
        """The settings of every cell of a task."""
        of_task = self._of_task(content, "overrides", task)
        fixed = {**self._epochs(content.get(EPOCHS), task), **of_task}
        named = {*fixed, *self._of_task(content, "vary", task)}
        length = next((name for name in LENGTHS if name in named), "")
        if EPOCHS in named and length:
            raise UserError(
                f"The suite '{self.path}' sets both '{EPOCHS}' and '{length}' for {task}: set only "
                f"'{EPOCHS}', which also moves the learning-rate schedule, or only the other, "
                "which does not."
            )
        if EPOCHS in fixed and not _is_length(fixed[EPOCHS]):
            raise self._wrong(EPOCHS, "an integer of at least 1, or one for each task")
        return fixed

    def _combinations(
        self, content: dict[str, Any], task: str, fixed: dict[str, Any]
    ) -> list[Overrides]:
        """Every combination of values of the varied settings, none of which may be fixed."""
        varied = self._of_task(content, "vary", task)
        for name in varied:
            if name in fixed:
                raise self._wrong(f'vary."{name}"', "a setting that 'overrides' does not fix")
        for name, values in varied.items():
            if not isinstance(values, list) or not values:
                raise self._wrong(f'vary."{name}"', "a non-empty list of values")
            self._once(values, f'vary."{name}"')
        if math.prod(map(len, varied.values())) > _MOST_SETTINGS:
            raise self._wrong("vary", f"at most {_MOST_SETTINGS:,} combinations of values")
        pairs = [[(name, value) for value in values] for name, values in varied.items()]
        return list(itertools.product(*pairs))

    def _of_task(self, content: dict[str, Any], key: str, task: str) -> dict[str, Any]:
        """The settings for every task, and those for this one over them."""
        table = content.get(key, {})
        if not isinstance(table, dict) or not all(
            isinstance(table.get(t, {}), dict) for t in TASKS
        ):
            raise self._wrong(key, "a table of settings, or one for each task")
        general = {name: value for name, value in table.items() if name not in TASKS}
        settings = {**general, **table.get(task, {})}
        if len(settings) > _MOST_SETTINGS:
            raise self._wrong(key, f"at most {_MOST_SETTINGS:,} settings")
        for name, value in settings.items():
            if name == EPOCHS and not _each(value, key, _is_length):
                raise self._wrong(f"{key}.{name}", "an integer of at least 1")
            if name == WITHOUT:
                self._require_parts(value, key)
            if name in _OF_SUITES:
                raise UserError(
                    f"The suite '{self.path}' sets '{name}' in '{key}', but it is no setting of a "
                    f"config: write it at the top of the file, above [{key}]."
                )
            if isinstance(value, dict):
                raise self._wrong(
                    f'{key}."{name}"',
                    "a value; put dotted names in quotes, and name a table of settings after a "
                    f"task, {' or '.join(TASKS)}",
                )
            if not _is_data(value):
                raise self._wrong(
                    f'{key}."{name}"', "a string, a finite number, true, false or a list"
                )
            if name != WITHOUT:
                self._require_allowed(name, value if key == "vary" else [value], key)
        return settings

    def _require_parts(self, value: Any, key: str) -> None:
        """Check that the parts left out of the speed layer are known.

        Raises:
            UserError: One is not.
        """
        from transfer.speed.hook import require_known  # imports torch, which few suites need

        for names in value if key == "vary" and isinstance(value, list) else [value]:
            try:
                require_known(names)
            except UserError as error:
                raise UserError(f"In the suite '{self.path}', '{key}': {error}") from error

    def _require_allowed(self, name: str, values: Any, key: str) -> None:
        """Check that a setting names nothing forbidden, such as a function to call."""
        for value in values if isinstance(values, list) else [values]:
            if fault := fault_of_setting(name, value):
                raise UserError(
                    f"The suite '{self.path}' was refused: in '{key}', {fault}. SECURITY.md lists "
                    "what a suite may name."
                )

    def _known(self, table: dict[str, Any], known: tuple[str, ...], where: str) -> None:
        for key in table:
            if key not in known:
                raise UserError(
                    f"The suite '{self.path}' has an unknown key '{key}'{where}: "
                    f"{suggestion(key, known)}"
                )

    def _once(self, values: list[Any], key: str) -> list[Any]:
        seen: set[Any] = set()
        for value in values:
            if _frozen(value) in seen:
                raise UserError(
                    f"The suite '{self.path}' lists {brief(repr(value))} twice in '{key}'."
                )
            seen.add(_frozen(value))
        return values

    def _text(self, value: Any, key: str) -> str:
        if not isinstance(value, str):
            raise self._wrong(key, "a string")
        return value

    def _precision(self, value: Any) -> str:
        if value not in ("auto", *PRECISIONS):
            raise self._wrong("precision", f"auto, {' or '.join(PRECISIONS)}")
        return value

    def _margin(self, value: Any) -> float | None:
        if value is None:
            return None
        if type(value) not in (int, float) or not 0 < value <= 100:
            raise self._wrong("margin", "a number of points above 0 and at most 100")
        return float(value)

    def _variant(self, content: dict[str, Any]) -> str:
        name = self._text(content.get("variant", ""), "variant")
        if name and "vary" in content:
            raise self._wrong("variant", "left out: 'vary' has a table for each value")
        if name and name != brief(name):
            raise self._wrong("variant", "one line of at most 100 letters")
        return name

    def _wrong(self, key: str, wanted: str) -> UserError:
        return UserError(f"In the suite '{self.path}', '{key}' must be {wanted}.")


_OF_A_ROW = ("seeds", "classifier_seeds")
_OF_SUITES = (
    *("tasks", "data", "protocol", "precision", "baseline", "margin", "rows", "variant"),
    *_OF_A_ROW,
)


def _each(value: Any, key: str, holds: Callable[[Any], bool]) -> bool:
    """Whether a condition holds for a setting, or for every value that it is varied over."""
    values = value if key == "vary" and isinstance(value, list) else [value]
    return all(map(holds, values))


def _is_length(value: Any) -> bool:
    return type(value) is int and value >= 1


def _is_data(value: Any) -> bool:
    """Whether a config may hold this value; TOML also has dates and times."""
    if isinstance(value, list):
        return all(map(_is_data, value))
    if isinstance(value, float):
        return math.isfinite(value)  # JSON, and so a record, has no inf and nan
    return isinstance(value, str | int | bool)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value


def _folder() -> Path:
    return resource_dir("configs", "configs") / "suites"


def _parse(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path, "The suite")
    except OSError as error:
        raise UserError(f"The suite '{path}' cannot be read ({error.strerror}).") from error
