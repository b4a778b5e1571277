"""Files of ``torch.save``, read as tensors and plain data; what would execute code is refused."""

from __future__ import annotations

import mmap
import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.serialization import MAGIC_NUMBER

from backbones.common.errors import UserError

_PICKLES_BEHIND_MAGIC = 3
_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "LONG4")
_ZIP_MAGIC = b"PK\x03\x04"  # by which torch tells its two forms apart


class DamagedFile(UserError):
    """A file that is cut short or of another format."""


class CodeInside(UserError):
    """A pickle that would execute code if it were read in full."""


def read_torch_file(path: Path) -> Any:
    """What a file of ``torch.save`` holds, on the CPU.

    torch stores tensors as they are; an archive that is packed could unpack to any size, so it is
    refused. Sizes in an archive's pickle are held against the archive's by torch itself, those of
    the older form are held against the file's here.

    Raises:
        CodeInside: It holds more than tensors and plain data.
        DamagedFile: It is no whole file of torch's.
    """
    try:
        if _is_archive(path):
            _require_stored(path)
        else:
            _require_room(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CodeInside(
            f"'{path}' was refused: it is a pickle that holds more than tensors, so that reading "
            "it would execute code. Save its state dict alone (torch.save(model.state_dict(), …)) "
            "or as safetensors, and use that."
        ) from error
    except UserError:
        raise
    except Exception as error:  # torch lets through whatever its parts raise on strangers' bytes
        first_line = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise DamagedFile(
            f"'{path}' could not be read as weights ({first_line}); it may be cut short or of "
            "another format: give .safetensors, a torch state dict, or MXNet .params."
        ) from error


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC


def _require_room(path: Path) -> None:
    """Hold every length and size that the older form names against the file's.

    It is four pickles (magic number, version, machine, objects) and the tensors' bytes behind them.
    A storage's number of elements stands right before its place in the file is asked for.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if MAGIC_NUMBER not in [argument for _, argument in _operations(content)]:
            return  # torch reads no further
        for _ in range(_PICKLES_BEHIND_MAGIC):
            number: int | None = None
            for name, argument in _operations(content):
                if name in _NUMBERS:
                    number = argument
                elif name == "BINPERSID":
                    if number is None or not 0 <= number <= len(content):
                        raise DamagedFile(
                            f"'{path}' could not be read as weights (a tensor of {number} elements "
                            f"in a file of {len(content)} bytes); it may be cut short."
                        )
                    number = None


def _operations(content: Any) -> Iterator[tuple[str, Any]]:
    """What the pickle at a file's place does, up to its end; nothing of it is done."""
    for operation, argument, _place in pickletools.genops(content):
        yield operation.name, argument


def _require_stored(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise DamagedFile(
                    f"'{path}' could not be read as weights (its '{entry.filename}' is packed, "
                    "which torch's own files never are); save it anew with torch.save."
                )
