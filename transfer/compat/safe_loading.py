"""Checkpoints through MMEngine, without its silent way back to executing what a file holds.

MMEngine reads a checkpoint with ``weights_only``; where that is refused it logs a warning and reads
it again without. What it fetches from an address is read without from the start. And what it
allows its own checkpoints includes ``getattr``, with which a pickle reaches every module.
:func:`install` closes all three, for ``mim train`` too: the configs import this by
``custom_imports``.
"""

from __future__ import annotations

import os
import pickle
from typing import Any

import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint

from backbones.common.errors import UserError

_FORCED, _FORBIDDEN = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_STATISTICS = ("mean", "max", "min", "current")


def install() -> None:
    """Refuse pickles with code wherever MMEngine, or torch for it, reads a checkpoint."""
    os.environ[_FORCED] = (
        "1"  # torch's own switch: every ``torch.load`` here and in child processes
    )
    os.environ.pop(_FORBIDDEN, None)
    checkpoint._safe_torch_load = _load
    checkpoint.load_url = _load_address


def _load(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
    """MMEngine's loading, whatever is asked for as ``weights_only``.

    Raises:
        UserError: It is a pickle with code.
    """
    allowed = [
        (_buffer_method, "builtins.getattr") if entry is getattr else entry
        for entry in checkpoint.get_torch_safe_globals()
    ]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(file, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refusal(file) from error


def _load_address(url: str, **options: Any) -> Any:
    """``torch.hub``'s loading of an address.

    Raises:
        UserError: It is a pickle with code.
    """
    try:
        return torch.hub.load_state_dict_from_url(url, **{**options, "weights_only": True})
    except pickle.UnpicklingError as error:
        raise _refusal(url) from error


def _buffer_method(owner: Any, name: str) -> Any:
    """The one use that MMEngine's checkpoints have for ``getattr``: a buffer's own statistics."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise pickle.UnpicklingError(f"'{name}' of {owner!r} was asked for")
    return getattr(owner, name)


def _refusal(source: Any) -> UserError:
    return UserError(
        f"'{source}' was refused: it is a pickle that holds more than tensors and MMEngine's own "
        "logs, so that reading it would execute code. Remove it, or give a checkpoint that holds "
        "a state dict alone."
    )
