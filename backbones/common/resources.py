"""Locations of the data files that come with the code, and of the cache."""

from __future__ import annotations

import os
from pathlib import Path

from backbones.common.errors import UserError


def resource_dir(packaged: str, in_checkout: str) -> Path:
    """A folder of data files.

    Args:
        packaged: Its name in the installed ``transfer`` package.
        in_checkout: Its path from the root of a checkout.
    """
    root = Path(__file__).resolve().parents[2]
    installed = root / "transfer" / packaged
    return installed if installed.is_dir() else root / in_checkout


def cache_dir() -> Path:
    """The folder of downloads and trained classifiers: ``$TRANSFER_CACHE`` or the user's cache.

    Raises:
        UserError: Neither is known.
    """
    if chosen := os.environ.get("TRANSFER_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "transfer-bench"
    try:
        return Path.home() / ".cache" / "transfer-bench"
    except RuntimeError as error:
        raise UserError(
            "This user has no home folder for downloads and trained classifiers: set "
            "TRANSFER_CACHE to a writable folder."
        ) from error
