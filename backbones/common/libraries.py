"""Explains why an installed library cannot be imported, and what to do."""

from __future__ import annotations

import re

HEADLESS = "python -m pip install --force-reinstall --no-deps 'opencv-python-headless<4.13'"
"""Replaces OpenCV by the build that needs no display; both use the folder cv2."""

_ABSENT = re.compile(r"^(?P<file>\S+\.so[\w.]*): cannot open shared object file")
_OTHER_TORCH = re.compile(r"operator torchvision::\w+ does not exist")


def remedy(error: BaseException) -> str:
    """The message for an import that failed because of a system library or another torch.

    Args:
        error: What the import raised.

    Returns:
        What is wrong and the command that fixes it; empty for any other error.
    """
    if isinstance(error, ImportError) and (absent := _ABSENT.match(str(error))):
        file = absent["file"]
        if error.name and error.name.split(".")[0] == "cv2":
            return (
                f"opencv-python cannot be imported: this machine has no '{file}', which OpenCV's "
                f"windows need. Install the OpenCV without windows: {HEADLESS}"
            )
        return (
            f"The package '{error.name}' cannot be imported: this machine has no '{file}'. "
            "Install the system's package that holds this file, and run the command again."
        )
    if isinstance(error, RuntimeError) and _OTHER_TORCH.search(str(error)):
        return (
            "The installed torchvision is built for another torch, such as one with CUDA for one "
            "without. Install both from one index: python -m pip install --force-reinstall torch "
            "torchvision, with '--index-url https://download.pytorch.org/whl/cpu' for the CPU "
            "build."
        )
    return ""
