"""The known networks: those of timm, two that this project adds, and those that users register."""

from __future__ import annotations

import difflib
import sys
import traceback

import timm

from backbones.common.errors import UserError
from backbones.tricks import resnet_b  # noqa: F401  (registers resnet50v1 with timm)
from backbones.zoo import mobilenet_v1  # noqa: F401  (registers mobilenetv1 with timm)


def is_known(architecture: str) -> bool:
    """Whether timm has a network."""
    return timm.is_model(architecture)


def require_known(architecture: str) -> None:
    """Check that timm has a network.

    Raises:
        UserError: It has not; the message lists similar names.
    """
    if not is_known(architecture):
        near = ", ".join(difflib.get_close_matches(architecture, timm.list_models(), n=5))
        raise UserError(
            f"timm has no network '{architecture}'"
            + (f"; similar names are {near}." if near else "; 'timm.list_models()' lists all.")
        )


def is_timms(architecture: str) -> bool:
    """Whether a known network is timm's own, not registered by a user or this project."""
    return timm.model_entrypoint(architecture).__module__.startswith("timm.")


def unusable(architecture: str, fault: str | Exception) -> UserError:
    """The error for a registered network that is not built as timm's are.

    Args:
        architecture: Its name.
        fault: A clause, or what its code raised.
    """
    if isinstance(fault, Exception):
        fault = f"fails with {_described(fault, architecture)}"
    return UserError(
        f"'{architecture}' {fault}. Correct the code that registers it with timm; docs/networks.md "
        "('Bring a network') says what a backbone must offer."
    )


def _described(error: Exception, architecture: str) -> str:
    """An exception in one line, with the place in the file that registers the network."""
    first, *_ = (str(error).strip() or "no message").splitlines()
    module = sys.modules.get(timm.model_entrypoint(architecture).__module__)
    file = getattr(module, "__file__", None)
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == file]
    place = f" ('{file}', line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {first.rstrip('.')}{place}"
