"""How a command ends: its exit code, and one sentence for what its user can mend."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from backbones.errors import UserError
from backbones.runtime import ranks, stopping


def guarded(command: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Run a command; what the user can mend is one sentence and exit code 2.

    Returns:
        What the command returns; 2 for a sentence, 130 for a command that was asked to stop.
    """
    try:
        return command(args)
    except ranks.ToldElsewhere as error:
        print(f"ended: {error}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, stopping.Interrupted):
        print("interrupted; run the same command again to go on", file=sys.stderr)
        return 130
