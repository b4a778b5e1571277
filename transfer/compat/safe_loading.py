"""Safe loading of checkpoints and files through MMEngine, without executing their content.

MMEngine reads a checkpoint with ``weights_only``; if that is refused, it logs a warning and reads
the file without it. Downloads are read without it from the start. MMEngine allows its own
checkpoints ``getattr``, through which a pickle reaches every module. Its readers of other files
unpickle, and let YAML call functions. :func:`install` closes all of these, also for ``mim train``,
whose configs import this by ``custom_imports``. It relies on private names of MMEngine, so it
checks them first, and afterwards tests that pickles with code are refused.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
import yaml
from mmengine import fileio
from mmengine.fileio import handlers
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint

from backbones.common.errors import UserError
from backbones.common.torch_file import read_torch_file
from backbones.common.versions import versions
from backbones.weights.download import fetch
from transfer.compat.log_buffers import LOG_BUFFERS

_FORCED, _FORBIDDEN = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_DOORS = {  # functions of MMEngine that read a checkpoint, with the function that each must call
    "load_from_local": "_safe_torch_load",
    "load_from_http": "load_url",
    "load_from_ceph": "_safe_torch_load",
}
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FORMATS = ("pickle", "pkl", "yaml", "yml")


def install() -> None:
    """Refuse code wherever MMEngine, or torch for it, reads a file, and test the refusal.

    Raises:
        UserError: The installed MMEngine or torch differs from the supported ones, so that a
            file could be executed.
    """
    _require_names()
    # torch's own switch, for every ``torch.load`` here and in child processes
    os.environ[_FORCED] = "1"
    os.environ.pop(_FORBIDDEN, None)
    checkpoint._safe_torch_load = read
    checkpoint.load_url = _read_address
    for ending in ("pickle", "pkl"):
        handlers.file_handlers.pop(ending, None)
    for ending in ("yaml", "yml"):  # it reads the toolboxes' lists of configs with this
        handlers.file_handlers[ending] = _PlainYaml()
    require_refused()


def _require_names() -> None:
    """Check that the replaced functions exist and that MMEngine calls them."""
    wanted = {*_DOORS, *_DOORS.values(), "get_torch_safe_globals"}
    missing = [f"runner.checkpoint.{name}" for name in wanted if not hasattr(checkpoint, name)]
    missing += [] if hasattr(handlers, "file_handlers") else ["fileio.handlers.file_handlers"]
    if missing:
        raise UnsafeToolbox(f"MMEngine lacks {', '.join(sorted(missing))}")
    for door, name in _DOORS.items():
        if name not in getattr(checkpoint, door).__code__.co_names:
            raise UnsafeToolbox(f"MMEngine's {door} does not call {name}")


def require_refused() -> None:
    """Try to load files with code through each closed path.

    Raises:
        UserError: One of them was loaded.
    """
    for zipped in (True, False):
        for harm in (_Reach(), _Call()):
            file = io.BytesIO()
            torch.save(harm, file, _use_new_zipfile_serialization=zipped)
            _require_refusal(checkpoint._safe_torch_load, file, "a checkpoint with code")
        _require_refusal(_read_in_full, file, "a torch file with code")
    tagged = f"!!python/object/apply:{__name__}.{_harmless.__name__} []".encode()
    for ending in _FORMATS:
        harmful = tagged if ending.startswith("y") else pickle.dumps(_Call())
        read = partial(fileio.load, file_format=ending)
        _require_refusal(read, io.BytesIO(harmful), f"a .{ending} with code")


def _require_refusal(read: Callable[[Any], Any], file: io.BytesIO, what: str) -> None:
    file.seek(0)
    try:
        read(file)
    except (pickle.UnpicklingError, UserError, TypeError, yaml.YAMLError):
        return
    raise UnsafeToolbox(f"{what} was loaded")


def _read_in_full(file: Any) -> Any:
    """A full load as other code requests it, which torch's own switch must refuse."""
    return torch.load(file, weights_only=False)


def _harmless() -> None:
    """The function that the test files would call."""


class _PlainYaml(handlers.YamlHandler):
    """MMEngine's YAML reader without the tags that call functions."""

    def load_from_fileobj(self, file: Any, **options: Any) -> Any:
        return super().load_from_fileobj(file, **{**options, "Loader": _YAML_LOADER})


class _Call:
    """Calls a function when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _harmless, ()


class _Reach:
    """Uses ``getattr`` beyond what MMEngine's checkpoints need when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (HistoryBuffer, "__init__")


def read(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
    """A checkpoint as MMEngine reads it here, whatever is asked for as ``weights_only``.

    Args:
        file: The file's place, or a file in memory.
        map_location: As ``torch.load`` takes it.
        weights_only: Not looked at.

    Raises:
        UserError: It is a pickle with code, damaged, or larger than is read.
    """
    source = file if isinstance(file, io.BytesIO) else Path(file)
    return read_torch_file(source, map_location, LOG_BUFFERS)


def _read_address(url: str, map_location: Any = None, **_: Any) -> Any:
    """A checkpoint at an address, kept where ``torch.hub`` keeps it.

    Raises:
        UserError: As :func:`read`, or it cannot be fetched within the bounds of any download.
    """
    place = Path(torch.hub.get_dir(), "checkpoints", Path(urlsplit(url).path).name)
    return read(place if place.exists() else fetch(url, place), map_location)


class UnsafeToolbox(UserError):
    """The installed versions would execute a file's content."""

    def __init__(self, reason: str) -> None:
        found = versions()
        names = ("torch", "onedl-mmengine")
        super().__init__(
            f"Nothing was loaded: {reason}, so a file could be executed. This version of the "
            f"project does not support {' and '.join(f'{name} {found[name]}' for name in names)}; "
            "install versions that the README lists."
        )
