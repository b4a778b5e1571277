"""Files of ``torch.save``, read as tensors and plain data; what would execute code is refused."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from backbones.errors import UserError

_ZIP_MAGIC = b"PK\x03\x04"  # by which torch tells its two forms apart


class DamagedFile(UserError):
    """A file that is cut short or of another format."""


class CodeInside(UserError):
    """A pickle that would execute code if it were read in full."""


def read_torch_file(path: Path) -> Any:
    """What a file of ``torch.save`` holds, on the CPU.

    torch stores tensors as they are; an archive that is packed could unpack to any size, so it is
    refused. Sizes in the pickle are held against the archive's by torch itself.

    Raises:
        CodeInside: It holds more than tensors and plain data.
        DamagedFile: It is no whole file of torch's.
    """
    try:
        _require_stored(path)
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


def _require_stored(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_ZIP_MAGIC)) != _ZIP_MAGIC:
            return  # torch's older form, which knows no packing
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise DamagedFile(
                    f"'{path}' could not be read as weights (its '{entry.filename}' is packed, "
                    "which torch's own files never are); save it anew with torch.save."
                )
