"""The protocols: how a task is fine-tuned, each a file under ``configs/_base_/<task>``."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.paths import unknown_name
from backbones.common.resources import resource_dir

TASKS = ("detection", "segmentation")
QUICK = ("quick", "quick-coco", "modern-quick", "frozen")
"""Protocols for machines without a GPU, in the number format that is fast there."""

HEADLINE = {"detection": "mAP", "segmentation": "mIoU"}
"""The headline metric of each task."""


def names(task: str) -> list[str]:
    """The protocols of a task."""
    return sorted(path.stem for path in (_configs() / "_base_" / task).glob("*.py"))


def config_file(task: str, protocol: str) -> Path:
    """The config of a protocol.

    Raises:
        UserError: Unknown; the message has the nearest names.
    """
    if protocol in names(task):  # a name, never a path, since the file is executed
        return _configs() / "_base_" / task / f"{protocol}.py"
    for other in TASKS:
        if protocol in names(other):
            raise UserError(
                f"The protocol '{protocol}' does not support {task}: pass --task {other}, or in a "
                f'suite tasks = ["{other}"].'
            )
    raise unknown_name(f"protocol for {task}", protocol, names(task), ".py")


@cache
def version(task: str, protocol: str) -> str:
    """Hash of a protocol's config and its bases in this project, 8 hexadecimal digits.

    Comments and layout do not count; the toolboxes' bases are identified by versions.
    """
    digest = hashlib.sha256()
    for path in _chain(config_file(task, protocol)):
        digest.update(ast.dump(_parse(path)).encode())
    return digest.hexdigest()[:8]


@cache
def needs_roi_head(task: str, protocol: str) -> bool:
    """Whether a protocol makes the head of a C4 detector of the network's last stage."""
    nodes = [
        node for path in _chain(config_file(task, protocol)) for node in ast.walk(_parse(path))
    ]
    settings = [node for node in nodes if isinstance(node, ast.keyword)]
    given = {(s.arg, s.value.value) for s in settings if isinstance(s.value, ast.Constant)}
    return ("type", "RoIStage") in given


def _chain(path: Path) -> list[Path]:
    """A config and, after it, the files of this project that it inherits from."""
    for node in _parse(path).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_base_":
            elements = node.value.elts if isinstance(node.value, ast.List) else [node.value]
            bases = [element.value for element in elements if isinstance(element, ast.Constant)]
            own = [path.parent / str(base) for base in bases if "::" not in str(base)]
            return [path, *(file for base in own for file in _chain(base.resolve()))]
    return [path]


def _parse(path: Path) -> ast.Module:
    # MMEngine's references, {{_base_.x}}, parse as sets in sets and are never evaluated.
    return ast.parse(path.read_text(encoding="utf-8"))


def _configs() -> Path:
    return resource_dir("configs", "configs")
