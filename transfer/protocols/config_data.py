"""What a run uses of a config of the user's own, as plain data."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from backbones.common.escape import brief
from transfer.protocols.imported_sources import SOURCES, sources
from transfer.protocols.read_settings import READ

_READ = (*(name for name in READ if name != "val_cfg"), "custom_imports")
"""The settings of a config that a run uses; all others only log, save or show something. A test's
loop is the run's own."""

_LOGGING_HOOKS = (
    *("RuntimeInfoHook", "IterTimerHook", "LoggerHook", "ParamSchedulerHook", "CheckpointHook"),
    *("DistSamplerSeedHook", "DetVisualizationHook", "SegVisualizationHook", "EmptyCacheHook"),
    *("MemoryProfilerHook", "NumClassCheckHook", "CheckInvalidLossHook"),
)
"""Hooks among ``default_hooks`` that change no result, or that every run has."""

_IMPORTED = re.compile(r"(mmdet|mmseg|mmengine|mmcv|torch\.optim)\.((?:\w+\.)*)(\w+)")


def used_part(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """What a run uses of a resolved config.

    Default hooks are in it only where they are other than the usual ones, and the sources of
    modules only where it imports the user's own.

    Args:
        content: The config.
        path: Its file, for messages.

    Raises:
        UserError: It holds something that is no plain data.
    """
    read = {name: content[name] for name in _READ if name in content}
    hooks = content.get("default_hooks")
    if isinstance(hooks, dict):
        unusual = {name: hook for name, hook in hooks.items() if not _only_logs(hook)}
        read |= {"default_hooks": unusual} if unusual else {}
    scope = str(content.get("default_scope"))
    used = {name: _plain(value, name, path, scope) for name, value in read.items()}
    found = sources(used.get("custom_imports"))
    return used | ({SOURCES: found} if found else {})


def _only_logs(hook: Any) -> bool:
    kind = hook.get("type") if isinstance(hook, dict) else hook
    name = str(getattr(kind, "__name__", kind))
    return kind is None or name.rpartition(".")[2] in _LOGGING_HOOKS


def _plain(value: Any, place: str, path: Path, scope: str) -> Any:
    """A part of a config as plain data; classes become their registered names.

    Raises:
        UserError: It holds something else.
    """
    if isinstance(value, dict):
        return {key: _plain(part, f"{place}.{key}", path, scope) for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = enumerate(value)
        return type(value)(_plain(part, f"{place}.{i}", path, scope) for i, part in parts)
    if isinstance(value, str):
        return _registered_name(value, scope) if place.endswith(".type") else value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)  # NumPy has a float of its own
    if value is None or isinstance(value, bool | int):
        return value
    raise UserError(
        f"In '{path.absolute()}', '{place}' is {brief(repr(value))}, which is no plain data: write "
        "a finite number, a text, a list or a dict; a class is written as its registered name."
    )


def _registered_name(name: str, scope: str) -> str:
    """The registered name of a class that is given by name or import path.

    ``mmdet.FocalLoss`` in a config of MMSegmentation is MMDetection's class, not the equal-named
    one of MMSegmentation; so the scope is left out only where it is the config's own.
    """
    imported = _IMPORTED.fullmatch(name)
    if not imported:
        return name
    package, inner, plain = imported.groups()
    if package in ("mmdet", "mmseg"):
        return plain if package == scope else f"{package}.{plain}"
    return plain if inner or package == "torch.optim" else name
