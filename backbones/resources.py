"""Where the files are that travel with the code: in the wheel, or in the checkout."""

from __future__ import annotations

from pathlib import Path


def resource_dir(packaged: str, in_checkout: str) -> Path:
    """A folder of data files.

    Args:
        packaged: Its name inside the installed ``transfer`` package.
        in_checkout: Its path from the root of a checkout.
    """
    root = Path(__file__).resolve().parents[1]
    installed = root / "transfer" / packaged
    return installed if installed.is_dir() else root / in_checkout
