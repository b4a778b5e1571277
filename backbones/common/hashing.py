"""Hashes of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from backbones.common.regular_file import open_regular


def sha256(path: Path) -> str:
    """Hash of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
