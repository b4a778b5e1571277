"""Protocols of the user's own: configs of MMDetection and MMSegmentation.

A file is Python code, which MMEngine executes. It is read once, where the runs are planned; from
then on its content is data, which travels with each run. So a worker, on this machine or another,
needs no file, and a file that changes later changes no run that is already planned.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbones.common.errors import UserError
from backbones.common.escape import brief
from backbones.common.paths import expanded, is_file, missing
from transfer.protocols.config_data import used_part
from transfer.protocols.protocols import TASKS, names

_TASK_OF = {"mmdet": "detection", "mmseg": "segmentation"}
"""The task of each toolbox, by its scope."""

_TOOLBOX = {"detection": "MMDetection", "segmentation": "MMSegmentation"}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")  # a part of file names and titles


@dataclass(frozen=True, kw_only=True)
class OwnProtocol:
    """A protocol of the user's own.

    Attributes:
        name: Its name in records and tables: the file's, without ``.py``.
        task: ``"detection"`` or ``"segmentation"``.
        version: Hash of what a run uses of the resolved config, 8 hexadecimal digits.
        config: That part of the config, as Python literals.
    """

    name: str
    task: str
    version: str
    config: str


def is_own(protocol: str) -> bool:
    """Whether a protocol is named by a file, or by a config of an installed package."""
    return protocol.endswith(".py") or is_packaged(protocol)


def is_packaged(protocol: str) -> bool:
    """Whether a protocol is a config of an installed package, such as ``mmdet::fcos/….py``."""
    return "::" in protocol


def read(protocol: str) -> OwnProtocol:
    """Load a config, which executes it.

    Args:
        protocol: A path that ends in ``.py``, or ``<package>::<path in its configs>``.

    Raises:
        UserError: It is missing, cannot be loaded, or is no config of a detector or segmenter.
    """
    path = _packaged(protocol) if is_packaged(protocol) else expanded(protocol)
    if not is_file(path):
        raise UserError(f"There is no protocol at that path: {missing(path)}.")
    _require_free(path)
    content = _load(path)
    task = _task(content, path)
    used = used_part(content, path)
    digest = hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()
    return OwnProtocol(name=path.stem, task=task, version=digest[:8], config=repr(used))


def require_served(own: OwnProtocol, task: str) -> None:
    """Check that a protocol is for a task.

    Raises:
        UserError: It is for the other one.
    """
    if own.task != task:
        raise UserError(
            f"The protocol '{own.name}' is a config of {_TOOLBOX[own.task]} and does not support "
            f"{task}: pass --task {own.task}."
        )


def _packaged(protocol: str) -> Path:
    """The file of a package's config.

    Raises:
        UserError: The package has none, or the path leads out of it.
    """
    package, _, inside = protocol.partition("::")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    places = (spec and spec.submodule_search_locations) or ()
    folders = [folder for place in places if (folder := Path(place, ".mim", "configs")).is_dir()]
    if not folders:
        raise UserError(
            f"'{protocol}': no package '{package}' with configs is installed; there are "
            f"{' and '.join(_TASK_OF)}."
        )
    if ".." in Path(inside).parts or Path(inside).is_absolute():
        raise UserError(f"'{protocol}' leads out of the configs of '{package}'.")
    return folders[0] / inside


def _require_free(path: Path) -> None:
    """Check that a file's name can be a protocol's in records and tables."""
    name = path.stem
    if any(name in names(task) for task in TASKS):
        raise UserError(
            f"'{path.absolute()}' has the name of a protocol of this project, so its results could "
            f"be mistaken for those of '{name}'; rename the file: records use its name without .py."
        )
    if not _NAME.fullmatch(name):
        raise UserError(
            f"'{path.absolute()}' gives the protocol its name in files and tables, for which only "
            "up to 100 letters, digits and _ . + - are allowed; rename the file."
        )


def _load(path: Path) -> dict[str, Any]:
    """Execute a config and those that it inherits from."""
    from mmengine.config import Config  # slow, and few commands need it

    try:
        with _packages_by_import():
            return Config.fromfile(path, import_custom_modules=False).to_dict()
    except SyntaxError as error:
        raise UserError(
            f"The protocol '{path.absolute()}' is not valid Python: {error.msg} (line "
            f"{error.lineno})."
        ) from error
    except RecursionError as error:
        raise UserError(f"The protocol '{path.absolute()}' inherits from itself.") from error
    except (Exception, SystemExit) as error:  # the file's own code may raise anything
        raise UserError(
            f"The protocol '{path.absolute()}' cannot be loaded as a config "
            f"({type(error).__name__}: {brief(error, 200)}); correct it, or a file in its _base_."
        ) from error


@contextmanager
def _packages_by_import() -> Iterator[None]:
    """Let MMEngine find ``mmseg::…`` by the package's import name.

    It looks for the name of the distribution, which is another in the maintained fork.
    """
    from mmengine.config import Config

    before = Config._get_cfg_path

    def found(path: str, filename: str) -> tuple[str, str | None]:
        if not is_packaged(path):
            return before(path, filename)
        return str(_packaged(path)), path.partition("::")[0]

    Config._get_cfg_path = staticmethod(found)
    try:
        yield
    finally:
        Config._get_cfg_path = staticmethod(before)


def _task(content: dict[str, Any], path: Path) -> str:
    """The task of a config.

    Raises:
        UserError: It is not a config of a detector or a segmenter.
    """
    place, model, scope = path.absolute(), content.get("model"), content.get("default_scope")
    if not isinstance(model, dict):
        raise UserError(
            f"'{place}' has no 'model', so it is no config of MMDetection or MMSegmentation; "
            "docs/protocols.md has an example."
        )
    if scope is None:
        raise UserError(
            f"'{place}' does not say whose config it is: add default_scope = \"mmdet\" for a "
            'detector, or "mmseg" for a segmenter.'
        )
    if scope not in _TASK_OF:
        raise UserError(
            f"'{place}' is a config of '{scope}'; a protocol is one of MMDetection "
            '(default_scope = "mmdet") or MMSegmentation ("mmseg").'
        )
    if not isinstance(model.get("backbone"), dict):
        raise UserError(
            f"'{place}' has no 'model.backbone', which a protocol fine-tunes; wrappers around a "
            "whole detector, as for semi-supervised training, are not supported."
        )
    return _TASK_OF[scope]
