"""Checks of a command's arguments."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.paths import missing_folder


def require_folder(results: Path) -> None:
    """Check that the results folder exists.

    Raises:
        UserError: It does not exist.
    """
    if not results.is_dir():
        raise UserError(
            f"There is no results folder: {missing_folder(results)}. Name it with --results."
        )


def require_at_least(args: argparse.Namespace, least: Mapping[str, int]) -> None:
    """Check lower bounds of numbers; an argument that was not given may be None.

    Args:
        args: The command's arguments.
        least: Smallest allowed value by the argument's name.

    Raises:
        UserError: A number is below its bound, or NaN.
    """
    for name, lowest in least.items():
        given = getattr(args, name)
        if given is not None and not given >= lowest:
            raise UserError(f"--{name.replace('_', '-')} must be {lowest} or more.")
