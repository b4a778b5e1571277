"""Which seeds there are."""

from __future__ import annotations

from backbones.common.errors import UserError

MAX_SEED = 2**32 - 1
"""The largest seed that NumPy's generator takes."""


def require_seed(seed: int, what: str) -> None:
    """See that NumPy's generator takes a seed.

    Args:
        seed: The number.
        what: What it was given as, for the sentence.

    Raises:
        UserError: It is negative or too large.
    """
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"{what} must be a whole number from 0 to {MAX_SEED}, not {seed}.")
