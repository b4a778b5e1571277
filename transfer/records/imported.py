"""``transfer import``: turns a finished run of MMDetection or MMSegmentation into a record.

The record is marked ``imported`` and lists what is unknown. Imported runs have their own protocol,
so they never share a table with runs of this project.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from backbones.common.escape import terminal
from transfer.records import records
from transfer.records.comparable import digest_of_run
from transfer.records.finished_run import FinishedRun, read_run

PROTOCOL = "imported"
_POINTS = 100
_ELSEWHERE = (  # locations and display, which do not affect the result
    "work_dir", "load_from", "resume", "launcher", "log_level", "log_processor", "visualizer",
    "vis_backends", "default_hooks", "env_cfg", "custom_imports", "data_root", "img_scales",
    "log_config", "checkpoint_config", "dist_params", "workflow", "gpu_ids", "device",
    "auto_resume",
)  # fmt: skip
_HEADLINES = (
    # name in the run, task, our name, and factor to percent
    ("mAP", "detection", "mAP", 1.0),  # this project's metric
    ("pascal_voc/mAP", "detection", "mAP", 100.0),
    ("coco/bbox_mAP", "detection", "COCO AP", 100.0),
    ("mIoU", "segmentation", "mIoU", 1.0),
)
_OURS = {"mAP_11points", "mIoU_all"}
"""Figures that this project reports beside the headline, all in percent."""

_WHOLE = 100 * (1 + 1e-6)  # percent
_PRECISIONS = {"OptimWrapper": "float32", "Bfloat16OptimWrapper": "bfloat16"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add = parser.add_argument
    add("run", metavar="RUN", type=Path, help="work directory, scalars.json, .log.json or log")
    add("--backbone", default="", help="name of the row (default: the config's network)")
    add("--data", default="", help="name of the data set (default: its class in the config)")
    add("--seed", type=int, help="seed of the run, if it does not record one")
    add("--results", type=Path, default=Path("results"), help="results folder")


def run(args: argparse.Namespace) -> int:
    """Write the record, replace an earlier one of the same run, and print what is unknown.

    Raises:
        UserError: It is not a finished run, or its metric is not a number.
    """
    content = record_of(read_run(args.run), args.backbone, args.data, args.seed)
    cell = content["cell"]
    name = re.sub(r"[^\w.-]", "-", f"{cell['task']}_{PROTOCOL}_{cell['backbone']}_s{cell['seed']}")
    folder = records.folder(args.results, cell["data"])
    path = folder / f"{name}_{cell['id']}.json"
    records.write(path, content)
    for former in _others_of_this_run(path, content):
        former.unlink()
        print(terminal(f"Replaced '{former}', which was imported from the same run."))
    headline = content["headline"]
    figure = f"{headline['metric']} {headline['value']:.2f} %"
    print(terminal(f"{figure}, imported to {path}; unknown:"))
    for sentence in content["imported"]["unknown"]:
        print(f"  {terminal(sentence)}")
    return 0


def _others_of_this_run(path: Path, content: dict[str, Any]) -> Iterator[Path]:
    """Other records in the folder that were imported from the same file."""
    for other in records.files(path.parent):
        if other == path or f"_{PROTOCOL}_" not in other.name:
            continue
        with contextlib.suppress(UserError):
            if digest_of_run(records.read(other)) == content["imported"]["sha256"]:
                yield other


def record_of(found: FinishedRun, backbone: str, data: str, seed: int | None) -> dict[str, Any]:
    """The content of the record.

    Args:
        found: The run.
        backbone: The row's name; empty for the config's network.
        data: The data set's name; empty for its class in the config.
        seed: Seed of the run; None for the recorded one.

    Raises:
        UserError: It has no known metric, or one that is not a number.
    """
    task, metric, value, scale = _headline(found)
    config = found.config or {}
    network = _network(config)
    wrapper = _at(config, "optim_wrapper", "type")
    batch = _batch_in_all(config, found.gpus)
    chosen = found.seed if seed is None else seed
    cell = {
        "backbone": backbone or network,
        "architecture": network,
        "weights": _weights(config),
        "weights_id": _weights(config),
        "classifier": records.UNKNOWN,
        "task": task,
        "protocol": PROTOCOL,
        "protocol_version": records.UNKNOWN,
        "data": data or str(_dataset(config).get("type", records.UNKNOWN)),
        "data_fingerprint": records.UNKNOWN,
        "precision": _PRECISIONS.get(wrapper, str(_at(config, "optim_wrapper", "dtype") or wrapper
                                                  or records.UNKNOWN)),
        # The log distinguishes runs of unknown seed.
        "seed": int(found.digest[:7], 16) if chosen is None else chosen,
        "overrides": [],
    }  # fmt: skip
    identity = hashlib.sha256(json.dumps([cell, found.digest], sort_keys=True).encode())
    return {
        "schema": records.SCHEMA,
        "cell": {**cell, "id": identity.hexdigest()[:12]},
        "headline": {"metric": metric, "value": value},
        "metrics": {metric: value, **_others(found, task, scale)},
        "curve": found.curve[:: max(1, math.ceil(len(found.curve) / _POINTS))],
        "evaluations": [],
        "classifier": {
            "source": _weights(config),
            "sha256": _identity_of_weights(config),
            "architecture": network,
            "tricks": [],
            "top1": None,
            "top1_on": "",
            "parameters": 0,
            "multiply_adds_224": 0,
        },
        "config": records.config_entry(_comparable(config, found)),
        "training": {"images": {"train": 0, "test": 0}, "batch_size": batch},
        "versions": {},
        "command": shlex.join(_command(found, cell, seed)),
        "imported": {
            "from": found.source.name,
            "sha256": found.digest,
            "unknown": [
                *_not_known(cell, chosen),
                *_not_known_of_training(config, batch),
                *found.unknown,
            ],
        },
    }


def _command(found: FinishedRun, cell: dict[str, Any], seed: int | None) -> list[str]:
    """The command that makes this record again."""
    command = ["transfer", "import", str(found.source), "--backbone", cell["backbone"]]
    command += ["--data", cell["data"]]
    return command if seed is None else [*command, "--seed", str(seed)]


def _headline(found: FinishedRun) -> tuple[str, str, float, float]:
    for name, task, metric, scale in _HEADLINES:
        if name in found.metrics:
            value = scale * found.metrics[name]
            if not _is_figure(value) or value > _WHOLE:
                raise UserError(
                    f"The last evaluation in '{found.source}' has {name} {value}, which is not a "
                    "number; nothing was imported."
                )
            if scale == 1 and not _is_percent(found.metrics):
                raise UserError(
                    f"The last evaluation in '{found.source}' has {name} {value:g}, which may be a "
                    "fraction or a percentage: nothing was imported. Import the log that "
                    "MMDetection "
                    "or MMSegmentation wrote itself."
                )
            return task, metric, value, scale
    known = ", ".join(name for name, *_ in _HEADLINES)
    raise UserError(
        f"The last evaluation in '{found.source}' has {', '.join(sorted(found.metrics))}; "
        f"supported metrics are {known}."
    )


def _is_percent(metrics: dict[str, float]) -> bool:
    """Whether figures with ambiguous names are percent and not fractions."""
    means = [metrics.get(name, 0.0) for name in ("mAP", "mIoU", "mAcc", "aAcc")]
    is_ours = not _OURS.isdisjoint(metrics)
    return is_ours or any(value > 1 for value in means) or not any(means)


def _is_figure(value: float) -> bool:
    """Whether the test set had objects: otherwise COCO's figures are -1 and others NaN."""
    return math.isfinite(value) and value >= 0


def _others(found: FinishedRun, task: str, scale: float) -> dict[str, float | None]:
    """All other figures of the evaluation in percent; pixel accuracy under our name."""
    renamed = {"aAcc": "pixAcc"} if task == "segmentation" else {}
    return {
        renamed.get(name, name): scale * value if _is_figure(value) else None
        for name, value in found.metrics.items()
        if name not in {headline for headline, *_ in _HEADLINES}
    }


def _comparable(config: dict[str, Any], found: FinishedRun) -> dict[str, Any]:
    """The config without paths and names; an unknown config equals no other.

    Initial weights of the whole model stay, if there are any.
    """
    kept = {name: _without_places(part) for name, part in config.items() if name not in _ELSEWHERE}
    if not isinstance(kept.get("model"), dict):
        return {"model": {"backbone": {}, "data_preprocessor": {}}, "unknown config": found.digest}
    if began := _began_from(config):
        kept["load_from"] = began
    model = kept["model"]
    model.setdefault("backbone", {})
    model.pop("pretrained", None)  # the backbone's weights
    if not isinstance(model.get("data_preprocessor"), dict):
        model["data_preprocessor"] = {}
    return kept


def _without_places(part: Any) -> Any:
    if isinstance(part, dict):
        return {k: _without_places(v) for k, v in part.items() if k not in ("data_root", "_scope_")}
    return [_without_places(one) for one in part] if isinstance(part, list) else part


def _network(config: dict[str, Any]) -> str:
    backbone = _at(config, "model", "backbone")
    if not isinstance(backbone, dict):
        return records.UNKNOWN
    if backbone.get("architecture"):
        return str(backbone["architecture"])
    return f"{backbone.get('type', records.UNKNOWN)}{backbone.get('depth', '')}"


def _weights(config: dict[str, Any]) -> str:
    """The source of the backbone's weights in the config; empty without one."""
    backbone = _at(config, "model", "backbone")
    inside = backbone if isinstance(backbone, dict) else {}
    source = (
        inside.get("weights")
        or _checkpoint(inside)
        or inside.get("pretrained")
        or _at(config, "model", "pretrained")
        or _checkpoint(config.get("model"))
        or _began_from(config)
    )
    return "pretrained" if source is True else str(source or "")


def _began_from(config: dict[str, Any]) -> str:
    """The initial weights of the whole model; empty for none.

    In a resumed run, ``load_from`` is the checkpoint that it resumed from, or None.
    """
    return "" if config.get("resume") else str(config.get("load_from") or "")


def _batch_in_all(config: dict[str, Any], gpus: int | None) -> int | None:
    """The global batch size; the config has that of one GPU. None if unknown."""
    part = _at(config, "train_dataloader", "batch_size")
    return part * gpus if type(part) is int and gpus else None


def _checkpoint(part: Any) -> Any:
    """The initial weights of a part of a model, from one dict or a list of dicts."""
    entry = _at(part, "init_cfg")
    among = entry if isinstance(entry, list) else [entry]
    return next((found for one in among if (found := _at(one, "checkpoint"))), None)


def _identity_of_weights(config: dict[str, Any]) -> str:
    """The substitute for a file's hash; empty if the config shows random weights."""
    weights = _weights(config)
    return f"{records.UNKNOWN}: {weights}" if weights or "model" not in config else ""


def _dataset(config: dict[str, Any]) -> dict[str, Any]:
    """The innermost training data set."""
    found = _at(config, "train_dataloader", "dataset")
    while isinstance(found, dict) and ("dataset" in found or found.get("datasets")):
        several = found.get("datasets")
        first = several[0] if several and isinstance(several, list) else {}
        found = found.get("dataset", first)
    return found if isinstance(found, dict) else {}


def _at(tree: Any, *keys: str) -> Any:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _not_known(cell: dict[str, Any], seed: int | None) -> list[str]:
    lines = [
        "the images: their number and identity; only the name of the data set is recorded.",
        "the classifier's top-1, its file, and its training.",
        "the cost: time, machine, and versions are not imported.",
        "whether the evaluation matches this project's (11 points or area, difficult objects, "
        "scales).",
    ]
    missing = {"backbone": "the backbone; set it with --backbone.", "data": "the data set; set it "
            "with --data.", "precision": "the precision."}  # fmt: skip
    lines += [sentence for name, sentence in missing.items() if cell[name] == records.UNKNOWN]
    if seed is None:
        lines.append("the seed; set it with --seed.")
    return lines


def _not_known_of_training(config: dict[str, Any], batch: int | None) -> list[str]:
    lines = []
    if batch is None:
        lines.append(
            "the global batch size: the number of GPUs in the log, or the batch size of one, is "
            "missing."
        )
    if config.get("resume"):
        lines.append("the initial weights: the run was resumed, and its config has nothing else.")
    return lines
