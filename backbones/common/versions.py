"""Versions of everything that affects a result."""

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
    """Versions of Python and of every package that affects a result."""
    found = {"python": platform.python_version()}
    return found | {name: version_of(name) or "not installed" for name in PACKAGES}


def version_of(package: str) -> str:
    """Version of an installed package; empty for one that is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
