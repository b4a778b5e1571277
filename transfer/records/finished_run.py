"""A finished run of MMDetection or MMSegmentation, read as data; nothing in it is executed.

Sources: MMEngine's ``<work_dir>/<time>/vis_data/scalars.json`` with ``config.py`` beside it and
``<time>.log``; MMCV's older ``<time>.log.json`` and ``<time>.log``; or the terminal output of
either.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from backbones.common.regular_file import is_hidden, read_bytes
from transfer.records.plain_config import is_older, literal_config, modernised
from transfer.records.run_log import (
    BOOKKEEPING,
    Evaluation,
    Start,
    Training,
    is_json,
    read_json,
    read_log,
)
from transfer.records.wording import count

_LARGEST = 1 << 26  # bytes; the log of a long training has 10 MB
_MOST_LINES = 1 << 20  # half a kilobyte of memory each
_INTERVAL = 10  # iterations between two training lines, unless the config differs
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # the output encoding of PowerShell


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """The content of a run.

    Attributes:
        source: The file that its figures come from.
        digest: Hash of that file.
        metrics: Metrics of the last evaluation, in names and units of MMEngine's toolboxes.
        curve: ``{"iteration", "loss", …}`` during training.
        config: The resolved config; None if there is none in plain data.
        seed: Seed of the run, or None.
        gpus: Number of GPUs from the log, or None.
        unknown: Sentences about what the run does not record.
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
    """Read a work directory, the folder of one start in it, or a log.

    Args:
        place: The folder; a ``scalars.json``, a ``.log.json``, or a text log of any name. If there
            were several starts, the last one with an evaluation counts.

    Raises:
        UserError: No evaluation, an unfinished training, or not such a run.
    """
    source, log = _files(place)
    text = _text(source)
    beside = read_log(_text(log)) if log else []
    if is_json(text):
        starts, broken = read_json(text, _epoch_length(beside))
        unknown = [f"{count(broken, 'line')} of its log could not be read."] if broken else []
    else:
        starts, unknown = read_log(text), []
    number = _last_evaluated(starts)
    if number is None:
        raise UserError(f"'{source}' holds no evaluation, so there is no figure to import.")
    start = starts[number]
    of_log = _last_evaluated(beside)
    log_start = beside[-1 if of_log is None else of_log] if beside else start
    config = _config(source, start, log_start)
    unknown += _require_finished(source, start, config or {}, log_start)
    if config is None:
        unknown.append(
            "its config was not found as plain data, so its rows have a table of their own."
        )
    curve = _curve(starts[: number + 1])
    if not curve and any(isinstance(point, Training) for point in start.points):
        unknown.append("its curve: the log does not give the iterations of an epoch.")
    return FinishedRun(
        source=source,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        metrics=_metrics(start),
        curve=curve,
        config=config,
        seed=_seed(config, start, log_start),
        gpus=_gpus(config, start, log_start),
        unknown=tuple(unknown),
    )


def _last_evaluated(starts: Sequence[Start]) -> int | None:
    found = [number for number, start in enumerate(starts) if start.is_evaluated]
    return found[-1] if found else None


def _epoch_length(starts: Sequence[Start]) -> int | None:
    lines = [point for start in starts for point in start.points if isinstance(point, Training)]
    return next((line.epoch_length for line in lines if line.epoch_length), None)


def _curve(starts: Sequence[Start]) -> list[dict[str, float]]:
    """Losses by iteration; a later start replaces what it repeats."""
    curve: list[dict[str, float]] = []
    is_counted = True
    for point in (point for start in starts for point in start.points):
        if isinstance(point, Training):
            while point.iteration and curve and curve[-1]["iteration"] >= point.iteration:
                curve.pop()
            curve.append({"iteration": point.iteration, **point.losses})
            is_counted &= point.iteration > 0
    return curve if is_counted or not starts[-1].older else []


def _metrics(start: Start) -> dict[str, float]:
    """Metrics of the last evaluation; MMCV's names and units become MMEngine's."""
    last = [point for point in start.points if isinstance(point, Evaluation)][-1]
    figures = {k: v for k, v in last.figures.items() if k not in BOOKKEEPING}
    if not start.older:
        return figures
    if "mIoU" in figures:
        is_fraction = all(not value > 1 for value in figures.values())
        return {k: 100 * v if is_fraction else v for k, v in figures.items()}
    return {_newer_name(name): value for name, value in figures.items()}


def _newer_name(name: str) -> str:
    if name == "mAP" or name.startswith("AP"):
        return f"pascal_voc/{name}"
    return f"coco/{name}" if name.startswith(("bbox_", "segm_")) else name


def _require_finished(
    source: Path, start: Start, config: dict[str, Any], log_start: Start
) -> list[str]:
    """Check that the last evaluation was made at the end of the training.

    A test alone gives no step. Neither does an evaluation of iteration-based training, unless
    ``log_metric_by_epoch`` is off: it came less than an interval after the preceding training line.

    Returns:
        A sentence if the length of the training is unknown.
    """
    trained, evaluation = _last_evaluation(start)
    unit, last = _length(config, start, log_start)
    step, unlogged = evaluation.step or evaluation.epoch, 0.0
    if unit == "iter" and not evaluation.step:
        interval = _number(_table(_table(config, "default_hooks"), "logger").get("interval"))
        interval = interval or _number(_table(config, "log_config").get("interval"))
        step, unlogged = trained.iteration if trained else 0, (interval or _INTERVAL) - 1
    if last is not None and 0 < step + unlogged < last and step > 0:
        raise UserError(
            f"'{source}' was last evaluated after {unit} {step:.0f} of {last:.0f}: the run is not "
            "finished, so that figure is not final. Nothing was imported; let it finish first."
        )
    if last is not None or trained is None:
        return []
    if trained.left is None or trained.left_in_epoch is None or not trained.epoch_length:
        return ["whether the training was finished: its planned length is not recorded."]
    if trained.left > trained.left_in_epoch + trained.epoch_length / 2:
        raise UserError(
            f"'{source}' was last evaluated after epoch {trained.epoch}, when by its own estimate "
            f"(eta) {trained.left:.0f} iterations were left: the run is not finished. Nothing was "
            "imported; let it finish first."
        )
    return []


def _length(config: dict[str, Any], start: Start, log_start: Start) -> tuple[str, float | None]:
    """Unit and length of the whole training, from the config or the log."""
    training = _table(config, "train_cfg")
    for unit in ("epoch", "iter"):
        if (last := _number(training.get(f"max_{unit}s"))) is not None:
            return unit, last
    if length := start.length or log_start.length:
        return length
    lines = [point for point in start.points if isinstance(point, Training)]
    return "iter", next((float(line.length) for line in lines if line.length), None)


def _last_evaluation(start: Start) -> tuple[Training | None, Evaluation]:
    """The last evaluation, and the training line before it."""
    place = max(i for i, point in enumerate(start.points) if isinstance(point, Evaluation))
    before = [point for point in start.points[:place] if isinstance(point, Training)]
    evaluation = start.points[place]
    assert isinstance(evaluation, Evaluation)
    return before[-1] if before else None, evaluation


def _config(source: Path, start: Start, log_start: Start) -> dict[str, Any] | None:
    """The resolved config from ``vis_data/config.py`` or the log; older forms are converted."""
    beside = source.parent / "config.py"
    config = literal_config(_text(beside)) if beside.is_file() else None
    config = config or start.config or log_start.config
    return modernised(config) if config and is_older(config) else config


def _seed(config: dict[str, Any] | None, start: Start, log_start: Start) -> int | None:
    chosen = _table(config or {}, "randomness").get("seed")
    if type(chosen) is int:
        return chosen
    return log_start.seed if start.seed is None else start.seed


def _gpus(config: dict[str, Any] | None, start: Start, log_start: Start) -> int | None:
    listed = (config or {}).get("gpu_ids")
    if isinstance(listed, list) and listed:
        return len(listed)
    return start.gpus or log_start.gpus


def _table(part: dict[str, Any], name: str) -> dict[str, Any]:
    """A table in a config; empty if it is missing."""
    found = part.get(name)
    return found if isinstance(found, dict) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e18 else None


def _files(place: Path) -> tuple[Path, Path | None]:
    """The file with the figures of the last start, and its text log."""
    if place.is_file():
        return place, _log_beside(place)
    if not place.is_dir():
        raise UserError(f"'{place}' does not exist; pass a work directory or a log.")
    patterns = ("**/vis_data/scalars.json", "**/*.log.json", "**/*.log")
    found = next(filter(None, (_visible(place, pattern) for pattern in patterns)), [])
    if not found:
        raise UserError(
            f"'{place}' holds no vis_data/scalars.json, no .log.json and no .log; pass the work "
            "directory or the log of a finished run of MMDetection or MMSegmentation."
        )
    runs = sorted(
        {path.resolve().parents[2 if path.name == "scalars.json" else 0] for path in found}
    )
    if len(runs) > 1 and found[0].suffix == ".json":
        raise UserError(
            f"'{place}' holds {len(runs)} runs, '{runs[0]}' and others; import them one at a time."
        )
    for path in reversed(found):  # an interrupted start may have no evaluation
        text = _text(path)
        starts = read_json(text)[0] if is_json(text) else read_log(text)
        if _last_evaluated(starts) is not None:
            return path, _log_beside(path)
    return found[-1], _log_beside(found[-1])


def _log_beside(path: Path) -> Path | None:
    """The text log that belongs to a file of JSON lines."""
    if path.name.endswith(".log.json"):
        beside = [path.with_suffix("")]
    elif path.suffix == ".json":
        beside = _visible(path.parent.parent, "*.log")
    else:
        return None
    return next((log for log in beside if log.is_file()), None)


def _visible(place: Path, pattern: str) -> list[Path]:
    """Files that match a pattern, without hidden files of file managers."""
    return sorted(path for path in place.glob(pattern) if not is_hidden(path))


def _text(path: Path) -> str:
    try:
        content = read_bytes(path, _LARGEST)
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}).") from error
    encoding = "utf-16" if content.startswith(_UTF_16) else "utf-8-sig"
    if (lines := content.count(b"\n") + content.count(b"\r")) > _MOST_LINES:
        raise UserError(
            f"'{path}' has {lines:,} lines, over the {_MOST_LINES:,} that are read; give the log "
            "of one run, without its progress bars."
        )
    return content.decode(encoding, errors="replace")
