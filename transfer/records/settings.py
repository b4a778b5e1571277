"""Changes to a protocol's config, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

EPOCHS = "epochs"
"""The override that sets the training's length and scales its schedule."""

WITHOUT = "without"
"""The override that lists parts of the speed layer to leave out."""

LENGTHS = {"train_cfg.max_epochs": "epochs", "train_cfg.max_iters": "iterations"}
"""Settings of the length alone, with their units."""

_END = re.compile(r"param_scheduler\.\d+\.end")
_SPAN = re.compile(r"param_scheduler\.\d+\.T_max")


def in_words(name: str, value: Any) -> str:
    """One setting in words: a length as ``8 epochs``, any other by its name."""
    what = EPOCHS if name == EPOCHS else LENGTHS.get(name)
    if what is None:
        return f"{name} = {value}"
    return f"1 {what[:-1]}" if value == 1 else f"{value} {what}"


def in_title(overrides: Iterable[tuple[str, Any]]) -> list[str]:
    """The settings for a title: lengths first, without schedules that merely end with them."""
    settings = dict(overrides)
    length = next((value for name, value in settings.items() if name in LENGTHS), None)
    kept = {n: v for n, v in settings.items() if length is None or not _follows(n, v, length)}
    return [in_words(name, kept[name]) for name in sorted(kept, key=_lengths_first)]


def unsaid(overrides: Iterable[tuple[str, Any]]) -> str:
    """All settings by name if a title omits some; otherwise empty."""
    settings: Mapping[str, Any] = dict(overrides)
    if len(in_title(settings.items())) == len(settings):
        return ""
    return ", ".join(f"{name} = {value}" for name, value in settings.items())


def _lengths_first(name: str) -> tuple[bool, str]:
    return name != EPOCHS and name not in LENGTHS, name


def _follows(name: str, value: Any, length: Any) -> bool:
    """Whether a setting makes a schedule end with the training."""
    if _END.fullmatch(name):
        return bool(value == length)
    return bool(_SPAN.fullmatch(name)) and isinstance(value, int) and value <= length
