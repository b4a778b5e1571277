"""A finished run of MMDetection or MMSegmentation, read as data; nothing of it is executed.

What is read is what MMEngine's runner leaves: ``<work_dir>/<time>/vis_data/scalars.json`` with one
JSON object a line, ``vis_data/config.py`` with the resolved config as Python, and ``<time>.log``.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from transfer.records.wording import count

_LARGEST = 200_000_000  # bytes; a log beyond it is none
_INTERVAL = 10  # iterations between two lines of training, unless the config says otherwise
_BOOKKEEPING = {"data_time", "time", "memory", "epoch", "iter", "step", "lr", "base_lr", "eta"}
_LINE = re.compile(r"- INFO - (?:Epoch|Iter)\((train|val|test)\)\s+(.*)")
_FIGURE = re.compile(r"([\w./-]+): +(-?\d+(?:\.\d*)?(?:e[-+]?\d+)?|nan)(?= |$)")
_PLACE = re.compile(r"\[ *(\d+)(?:/ *\d+)?\](?:\[ *(\d+)/ *(\d+)\])?")
_SEED = re.compile(r"^ +seed: (\d+)$", re.MULTILINE)
_GPUS = re.compile(r"^ +GPU number: (\d{1,6})$", re.MULTILINE)


@dataclass(frozen=True)
class FinishedRun:
    """What a run says of itself.

    Attributes:
        source: The file that its figures come from.
        digest: Hash of that file.
        metrics: Of the last evaluation, as the run names them.
        curve: ``{"iteration", "loss", …}`` on the way.
        config: The resolved config; None where there is none that is plain data.
        seed: Of the run, or None.
        gpus: How many trained it, by the log; None where that does not tell.
        unknown: Sentences about what the run does not tell.
    """

    source: Path
    digest: str
    metrics: dict[str, float]
    curve: list[dict[str, float]]
    config: dict[str, Any] | None
    seed: int | None
    gpus: int | None
    unknown: tuple[str, ...]


def read_run(place: Path) -> FinishedRun:
    """Read a work folder, the folder of one start in it, a ``scalars.json`` or a ``.log``.

    Raises:
        UserError: There is no evaluation in it, or it is no such run.
    """
    scalars, log = _files(place)
    source = scalars or log
    if source is None:
        raise UserError(
            f"'{place}' holds no vis_data/scalars.json and no .log; give the work folder or the "
            "log of a finished run of MMDetection or MMSegmentation."
        )
    text = _text(source)
    told = _text(log) if log else ""
    points, unknown = _of_scalars(text) if scalars else (list(_of_log(text)), [])
    evaluations = [point for kind, point in points if kind == "evaluation"]
    if not evaluations:
        raise UserError(
            f"'{source}' holds no evaluation; a run that was not evaluated has no figure to import."
        )
    config = _config(source, told)
    _require_finished(source, points, config or {})
    if config is None:
        unknown.append("its config was not found as plain data, so its rows stand alone.")
    gpus = _GPUS.search(told)
    return FinishedRun(
        source,
        hashlib.sha256(text.encode()).hexdigest(),
        {k: v for k, v in evaluations[-1].items() if k not in _BOOKKEEPING},
        [point for kind, point in points if kind == "training"],
        config,
        _seed(config, told),
        int(gpus[1]) if gpus else None,
        tuple(unknown),
    )


def _require_finished(
    source: Path, points: list[tuple[str, dict[str, float]]], config: dict[str, Any]
) -> None:
    """See that the last evaluation is the training's last; a test alone tells no step.

    Nor does an evaluation of a training by iterations, unless ``log_metric_by_epoch`` is off: it
    came less than an interval after the line of training before it.
    """
    told = _table(config, "train_cfg")
    unit = "epoch" if _is_number(told.get("max_epochs")) else "iter"
    last, unlogged = _number(told.get(f"max_{unit}s")), 0.0
    trained, step = _last_evaluation(points)
    if unit == "iter" and not step:
        interval = _number(_table(_table(config, "default_hooks"), "logger").get("interval"))
        step, unlogged = trained, (interval or _INTERVAL) - 1
    if last is not None and step > 0 and step + unlogged < last:
        raise UserError(
            f"'{source}' was evaluated last after {unit} {step:.0f} of {last:.0f}: the run is not "
            "finished, and that figure is not its last one. Nothing was imported; let it end first."
        )


def _last_evaluation(points: list[tuple[str, dict[str, float]]]) -> tuple[float, float]:
    """Iteration of the line of training before it, 0 for none, and the step that it tells."""
    trained, found = 0.0, (0.0, 0.0)
    for kind, figures in points:
        if kind == "training":
            trained = figures["iteration"]
        else:
            found = trained, figures.get("step", 0.0)
    return found


def _table(part: dict[str, Any], name: str) -> dict[str, Any]:
    """A table in a config; an empty one where there is none."""
    found = part.get(name)
    return found if isinstance(found, dict) else {}


def _files(place: Path) -> tuple[Path | None, Path | None]:
    """The last start's scalars and log, where they are there."""
    if place.is_file():
        if place.suffix == ".log":
            return None, place
        return place, next(iter(sorted(place.parent.parent.glob("*.log"))), None)
    if not place.is_dir():
        raise UserError(f"'{place}' is not there; give a work folder or a log.")
    found = sorted(place.glob("**/vis_data/scalars.json"))
    if len(runs := sorted({path.resolve().parents[2] for path in found})) > 1:
        raise UserError(
            f"'{place}' holds {len(runs)} runs, '{runs[0]}' and others; import one at a time."
        )
    for scalars in reversed(found):  # a start that was broken off may have no evaluation
        log = next(iter(sorted(scalars.parent.parent.glob("*.log"))), None)
        if any(kind == "evaluation" for kind, _ in _of_scalars(_text(scalars))[0]):
            return scalars, log
    return (found[-1] if found else None), next(iter(sorted(place.glob("**/*.log"))[::-1]), None)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"'{path}' is too large for a log ({path.stat().st_size} bytes).")
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}).") from error


def _of_scalars(text: str) -> tuple[list[tuple[str, dict[str, float]]], list[str]]:
    points, broken = [], 0
    for line in text.splitlines():
        try:
            told = json.loads(line)
        except (ValueError, RecursionError):
            broken += 1
            continue
        if isinstance(told, dict):
            figures = {k: found for k, v in told.items() if (found := _number(v)) is not None}
            step = figures.get("step", figures.get("iter", 0.0))
            points.append(_kind(figures, int(step) if math.isfinite(step) else 0))
    unknown = [f"{count(broken, 'line')} of its log could not be read."] if broken else []
    return [point for point in points if point], unknown


def _of_log(text: str) -> Iterator[tuple[str, dict[str, float]]]:
    steps = 0
    for found in _LINE.finditer(text):
        if found[1] == "train":
            steps = _step(found[2], steps)
        figures = {name: float(value) for name, value in _FIGURE.findall(found[2])}
        place = _PLACE.match(found[2])
        of_epoch = place is not None and place[2] is not None
        figures["step"] = float(place[1]) if place and of_epoch else 0.0
        point = _kind(figures, steps)
        if point and (point[0] == "training") == (found[1] == "train"):
            yield point


def _step(line: str, before: int) -> int:
    """The iteration of ``[epoch][done/all]`` or of ``[iteration/all]``."""
    place = _PLACE.match(line)
    if not place:
        return before
    if place[2] is None:
        return int(place[1])
    return (int(place[1]) - 1) * int(place[3]) + int(place[2])


def _kind(figures: dict[str, float], step: int) -> tuple[str, dict[str, float]] | None:
    """Whether a line tells of training or of an evaluation; None for neither."""
    if "loss" in figures:
        wanted = {k: v for k, v in figures.items() if "loss" in k or k == "lr"}
        losses = {k: v for k, v in wanted.items() if math.isfinite(v)}
        return "training", {"iteration": step, **losses}
    return ("evaluation", figures) if figures.keys() - _BOOKKEEPING else None


def _number(value: object) -> float | None:
    """A number of JSON as one, where it is one that can be told."""
    try:
        return float(value) if _is_number(value) else None  # type: ignore[arg-type]
    except OverflowError:
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seed(config: dict[str, Any] | None, log: str) -> int | None:
    chosen = (config or {}).get("randomness")
    if isinstance(chosen, dict) and isinstance(chosen.get("seed"), int):
        return int(chosen["seed"])
    found = _SEED.search(log)  # where none was chosen, MMEngine draws one and logs it
    return int(found[1]) if found else None


def _config(source: Path, log: str) -> dict[str, Any] | None:
    """The resolved config: of ``vis_data/config.py``, else of the log."""
    beside = source.parent / "config.py"
    if beside.is_file():
        return literal_config(_text(beside))
    found = re.search(r"- INFO - Config:\n(.*?)(?=^\d{4}/\d\d/\d\d |\Z)", log, re.DOTALL | re.M)
    return literal_config(found[1]) if found else None


def literal_config(text: str) -> dict[str, Any] | None:
    """A config of assignments, ``name = dict(…)``, read as data.

    Args:
        text: Python; never run. Only literals and calls of ``dict`` and ``list`` are understood.

    Returns:
        Its values by name, tuples as lists; None where anything else stands in it.
    """
    try:
        body = ast.parse(text).body
        return {name: _value(node) for name, node in _assignments(body)}
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _assignments(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for statement in body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            raise ValueError("not a plain assignment")
        yield statement.targets[0].id, statement.value


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str | int | float | bool | type(None)):
            return node.value
    elif isinstance(node, ast.List | ast.Tuple | ast.Set):
        return [_value(element) for element in node.elts]
    elif isinstance(node, ast.Dict):
        keys = [str(_value(key)) for key in node.keys if key is not None]
        return dict(zip(keys, map(_value, node.values), strict=True))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    elif isinstance(node, ast.Call) and _makes_dict(node):
        return {str(word.arg): _value(word.value) for word in node.keywords}
    raise ValueError("not plain data")


def _makes_dict(call: ast.Call) -> bool:
    """Whether a call is ``dict(name=…, …)``."""
    return isinstance(call.func, ast.Name) and call.func.id == "dict" and not call.args
