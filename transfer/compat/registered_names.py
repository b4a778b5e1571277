"""Names of registered classes, the only ones that a stranger's config may build.

Where MMEngine's registries do not know a ``type``, they import it: ``"subprocess.Popen"`` in a
config is a call. Config files are programs and may say so; overrides of a suite and configs inside
of records are data and may not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_REGISTERED = re.compile(r"((mmdet|mmseg|mmcv|mmengine)\.)?[A-Za-z_]\w*")


def is_registered_name(value: Any) -> bool:
    """Whether a ``type`` is a class's own name, or one after the toolbox that it is of."""
    return isinstance(value, str) and bool(_REGISTERED.fullmatch(value))


def foreign_types(tree: Any) -> Iterator[str]:
    """Every ``type`` in a tree of tables and lists that names anything else."""
    if isinstance(tree, dict):
        if "type" in tree and not is_registered_name(tree["type"]):
            yield str(tree["type"])
        for value in tree.values():
            yield from foreign_types(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from foreign_types(value)
