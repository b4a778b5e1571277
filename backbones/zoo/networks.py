"""The known networks: those of timm, and two that this project adds."""

from __future__ import annotations

import difflib

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
