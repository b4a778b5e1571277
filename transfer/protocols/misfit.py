"""The error for a setting of a user's own protocol that cannot be used."""

from __future__ import annotations

from backbones.common.errors import UserError


class Misfit(UserError):
    """A setting that composition cannot place.

    Args:
        field: Dotted name of the setting.
        what: The problem, as the rest of a sentence that begins with the setting.
        instead: What to write in the protocol's file.
    """

    def __init__(self, field: str, what: str, instead: str) -> None:
        super().__init__(f"'{field}' {what}. In the protocol's file, {instead}.")
