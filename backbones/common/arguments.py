"""What numbers given to a command have to be."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from backbones.common.errors import UserError
from backbones.common.paths import missing_folder


def require_folder(results: Path) -> None:
    """See that there is a folder of results to make something of.

    Raises:
        UserError: There is none.
    """
    if not results.is_dir():
        raise UserError(
            f"There is no folder of results: {missing_folder(results)}. Give it with --results."
        )


def require_at_least(args: argparse.Namespace, least: Mapping[str, int]) -> None:
    """See that numbers are not too small; one that was not given may be None.

    Args:
        args: The command's.
        least: The smallest that there may be, by the argument's name.

    Raises:
        UserError: One is below it, or NaN.
    """
    for name, lowest in least.items():
        given = getattr(args, name)
        if given is not None and not given >= lowest:
            raise UserError(f"--{name.replace('_', '-')} must be {lowest} or more.")
