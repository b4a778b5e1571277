"""Changes to a protocol's config, in words."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

EPOCHS = "epochs"
"""The override that sets the training's length and scales its schedule."""

WITHOUT = "without"
"""The override that lists parts of the speed layer to leave out."""

LENGTHS = {"train_cfg.max_epochs": "epochs", "train_cfg.max_iters": "iterations"}
"""Settings of the length alone, with their units."""

_PLAIN = {
    "optim_wrapper.optimizer.lr": "learning rate",
    "optim_wrapper.optimizer.weight_decay": "weight decay",
    "optim_wrapper.optimizer.momentum": "momentum",
    "train_dataloader.batch_size": "batch size",
}
"""Settings that have a plain name."""

_END = re.compile(r"param_scheduler\.\d+\.end")
_SPAN = re.compile(r"param_scheduler\.\d+\.T_max")


def in_words(name: str, value: Any) -> str:
    """One setting in words: ``8 epochs``, ``learning rate 0.02``, any other by its name."""
    what = EPOCHS if name == EPOCHS else LENGTHS.get(name)
    if what is not None:
        return f"1 {what[:-1]}" if value == 1 else f"{value} {what}"
    if name == WITHOUT and isinstance(value, list):
        return f"without {', '.join(map(str, value))}" if value else "with all parts of Speed"
    return f"{_PLAIN[name]} {value}" if name in _PLAIN else f"{name} = {value}"


def in_title(overrides: Iterable[tuple[str, Any]], variant: str = "") -> list[str]:
    """The changes for a title: lengths first, no keys of a config.

    Schedules that merely end with the training are omitted. Settings without a plain name are
    counted, with the first digits of their hash, which distinguishes titles.

    Args:
        overrides: Names and values.
        variant: The suite's name for the settings without a plain name; empty for none.
    """
    settings = dict(overrides)
    kept = _kept(settings)
    said = [in_words(name, kept[name]) for name in sorted(kept, key=_lengths_first) if _plain(name)]
    rest = {name: value for name, value in kept.items() if not _plain(name)}
    if variant:
        return [*said, variant]
    if not rest:
        return said
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:4]
    number = "1 changed setting" if len(rest) == 1 else f"{len(rest)} changed settings"
    return [*said, f"{number} ({digest})"]


def unsaid(overrides: Iterable[tuple[str, Any]]) -> str:
    """All settings by name if a title omits some; otherwise empty."""
    settings = dict(overrides)
    if all(_plain(name) for name in settings):
        return ""
    return ", ".join(f"{name} = {value}" for name, value in settings.items())


def _kept(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without schedules that merely end with the training."""
    length = next((value for name, value in settings.items() if name in LENGTHS), None)
    return {
        name: value
        for name, value in settings.items()
        if length is None or not _follows(name, value, length)
    }


def _plain(name: str) -> bool:
    """Whether a setting can be said without its key."""
    return name in (EPOCHS, WITHOUT) or name in LENGTHS or name in _PLAIN


def _lengths_first(name: str) -> tuple[bool, str]:
    return name != EPOCHS and name not in LENGTHS, name


def _follows(name: str, value: Any, length: Any) -> bool:
    """Whether a setting makes a schedule end with the training."""
    if _END.fullmatch(name):
        return bool(value == length)
    return bool(_SPAN.fullmatch(name)) and isinstance(value, int) and value <= length
