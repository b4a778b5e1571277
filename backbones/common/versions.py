"""Versions of everything that takes part in a result."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = (
    "transfer-bench",
    "torch",
    "torchvision",
    "timm",
    "onedl-mmengine",
    "onedl-mmcv",
    "onedl-mmdetection",
    "onedl-mmsegmentation",
    "pycocotools",
    "numpy",
)


def versions() -> dict[str, str]:
    """Versions of Python and of every package that takes part."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
