"""What numbers given to a command have to be."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from backbones.errors import UserError


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
