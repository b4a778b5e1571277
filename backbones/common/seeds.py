"""The range of seeds."""

from __future__ import annotations

from backbones.common.errors import UserError

MAX_SEED = 2**32 - 1
"""The largest seed that NumPy's generator accepts."""


def require_seed(seed: int, what: str) -> None:
    """Check that NumPy's generator accepts a seed.

    Args:
        seed: The number.
        what: Where it was given, for the error message.

    Raises:
        UserError: It is negative or too large.
    """
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"{what} must be a whole number from 0 to {MAX_SEED}, not {seed}.")
