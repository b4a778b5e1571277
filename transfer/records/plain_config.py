"""Configs of MMDetection and MMSegmentation, read as data: nothing in them is executed."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any

_LONGEST = 1 << 20  # characters; configs have some 20,000, and take some 200 bytes each once read
_LONGEST_RANGE = 1 << 10


def literal_config(text: str) -> dict[str, Any] | None:
    """Read a config of assignments, ``name = dict(…)``.

    Args:
        text: Python code, which is never run. Literals and calls of ``dict`` and ``range`` are
            understood.

    Returns:
        Its values by name, tuples and ranges as lists; None if it holds anything else, or is longer
        than any config.
    """
    if len(text) > _LONGEST:
        return None
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
        number = _value(node.operand)
        if isinstance(number, int | float):
            return -number
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _made_by(node.func.id, node)
    raise ValueError("not plain data")


def _made_by(function: str, call: ast.Call) -> Any:
    """The value of ``dict(name=…, …)`` or, as MMCV writes ``gpu_ids``, ``range(…)``."""
    if function == "dict" and not call.args:
        return {str(word.arg): _value(word.value) for word in call.keywords}
    if function == "range" and not call.keywords:
        ends = [_value(argument) for argument in call.args]
        if 1 <= len(ends) <= 3 and all(type(end) is int for end in ends):
            numbers = range(*ends)
            if len(numbers) <= _LONGEST_RANGE:
                return list(numbers)
    raise ValueError("not plain data")


def modernised(config: dict[str, Any]) -> dict[str, Any]:
    """A config of MMDetection 2.x or MMSegmentation 0.x with the entries of their successors.

    Only the entries that an import reads are translated: length, batch size, data, optimiser, seed,
    number of GPUs and resuming. All others stay unchanged.
    """
    kept = dict(config)
    data = _table(kept, "data")
    runner = _table(kept, "runner")
    kept["train_cfg"] = {
        f"max_{unit}": length
        for unit in ("epochs", "iters")
        if (length := runner.get(f"max_{unit}", kept.pop(f"total_{unit}", None))) is not None
    }
    named = {"type": kept["dataset_type"]} if "dataset_type" in kept else {}
    kept["train_dataloader"] = {
        "batch_size": data.get("samples_per_gpu"),
        "dataset": data.get("train") or named,
    }
    wrapper: dict[str, Any] = {"type": "OptimWrapper", "optimizer": kept.pop("optimizer", None)}
    if kept.get("fp16"):
        wrapper |= {"type": "AmpOptimWrapper", "dtype": "float16"}
    kept["optim_wrapper"] = wrapper
    kept["randomness"] = {"seed": kept.pop("seed", None)}
    kept["resume"] = bool(kept.pop("resume_from", None))
    return kept


def is_older(config: dict[str, Any]) -> bool:
    """Whether a config belongs to MMDetection 2.x or MMSegmentation 0.x."""
    return "train_dataloader" not in config and isinstance(config.get("data"), dict)


def _table(part: dict[str, Any], name: str) -> dict[str, Any]:
    found = part.get(name)
    return found if isinstance(found, dict) else {}
