"""A generated part of a README, between two marks; the rest is written by people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from backbones.common.atomic_write import write_atomically
from backbones.common.errors import UserError
from backbones.common.regular_file import read_bytes, read_text

_MAX_BYTES = 1 << 24


@dataclass(frozen=True)
class MadePart:
    """A generated part, with its name and command."""

    name: str
    command: str

    @property
    def begin(self) -> str:
        """The mark before it."""
        return f"<!-- {self.name}: made by '{self.command}' -->"

    @property
    def end(self) -> str:
        """The mark behind it."""
        return f"<!-- /{self.name} -->"

    def is_in(self, readme: Path) -> bool:
        """Whether a file exists and has the marks."""
        return readme.is_file() and self.begin.encode() in read_bytes(readme, _MAX_BYTES)

    def put(self, readme: Path, text: str) -> None:
        """Put a text between the marks.

        Raises:
            UserError: A mark is missing or repeated, or the file is not writable.
        """
        content = read_text(readme, _MAX_BYTES) if readme.exists() else ""
        before, _, rest = content.partition(self.begin)
        if content.count(self.begin) != 1 or rest.count(self.end) != 1:
            raise UserError(
                f"'{readme}' needs one line '{self.begin}' and, after it, one line '{self.end}': "
                "the "
                "command writes its text between them. Restore these lines."
            )
        after = rest.partition(self.end)[2]
        write_atomically(readme, f"{before}{self.begin}\n{text}{self.end}{after}".encode())
