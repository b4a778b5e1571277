"""Recognises the full release of ADE20K, which is not the data set that papers report on."""

from __future__ import annotations

import re
from pathlib import Path

from backbones.common.errors import UserError

_NAME = re.compile(r"ADE20K_20\d\d_\d\d_\d\d", re.IGNORECASE)
_SIGNS = ("images/ADE", "index_ade20k.mat", "index_ade20k.pkl")


def refuse_full_release(folder: Path) -> None:
    """Raise UserError if a folder is, or holds at its top, the full release of ADE20K.

    The release has thousands of classes as colours in ``*_seg.png`` beside the images; the 150
    classes that papers report on are in ADEChallengeData2016 (mmsegmentation, issue 1754).
    """
    found = _full_release(folder)
    if found:
        raise UserError(
            f"'{found}' is the full release of ADE20K, with thousands of classes as colours. "
            "Papers report on ADEChallengeData2016, with 150 classes as indices "
            "(mmsegmentation, issue 1754): download it with 'transfer prepare ade20k' and an "
            "empty --root, and move the full release elsewhere."
        )


def _full_release(folder: Path) -> Path | None:
    if any((folder / sign).exists() for sign in _SIGNS):
        return folder
    for part in ("images/training", "images/validation"):
        if next((folder / part).rglob("*_seg.png"), None):
            return folder
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return next((entry for entry in entries if _NAME.match(entry.name)), None)
