"""Files of ``torch.save``, read as tensors and plain data; what would execute code is refused."""

from __future__ import annotations

import mmap
import pickle
import pickletools
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch._C import PyTorchFileReader
from torch.serialization import MAGIC_NUMBER

from backbones.common.errors import UserError
from backbones.common.regular_file import UnfitFile, open_regular
from backbones.common.zip_directory import directory_bytes

MAX_PICKLE_BYTES = 1 << 23
"""Most bytes of a file beside its tensors; a training's checkpoint has under 1 MB of them."""

_MAX_DIRECTORY_BYTES = 1 << 23
_PICKLES_BEHIND_MAGIC = 4
_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "LONG4")
_ZIP_MAGIC = b"PK\x03\x04"  # by which torch tells its two forms apart

# What a pickle may name. ``weights_only`` allows more: ``bytearray(n)`` and the classes of tensors
# and storages make room for as much as a few bytes ask for.
_PLAIN = frozenset(
    [
        "collections.OrderedDict",
        "collections.Counter",
        "builtins.set",
        "builtins.complex",
        "torch.Size",
        "torch.device",
        "torch.serialization._get_layout",
        *(
            f"torch._utils._rebuild_{what}"
            for what in (
                "tensor",
                "tensor_v2",
                "parameter",
                "parameter_with_state",
                "sparse_tensor",
                "meta_tensor_no_storage",
            )
        ),
        *(str(value) for value in vars(torch).values() if isinstance(value, torch.dtype)),
        *(
            f"torch.{name}"
            for name in vars(torch)
            if name.endswith("Storage") and name not in ("TypedStorage", "UntypedStorage")
        ),
    ]
)


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
            _require_plain_archive(path)
        else:
            _require_plain_pickles(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CodeInside(_refusal(path)) from error
    except UserError:
        raise
    except Exception as error:  # torch lets through whatever its parts raise on strangers' bytes
        first_line = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise DamagedFile(
            f"'{path}' could not be read as weights ({first_line}); it may be cut short or of "
            "another format: give .safetensors, a torch state dict, or MXNet .params."
        ) from error


def _refusal(path: Path, named: str = "") -> str:
    told = f", {named}," if named else ""
    return (
        f"'{path}' was refused: it is a pickle that holds more than tensors{told} so that reading "
        "it would execute code. Save its state dict alone (torch.save(model.state_dict(), …)) "
        "or as safetensors, and use that."
    )


def _is_archive(path: Path) -> bool:
    with open_regular(path) as file:
        return file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC


def _require_plain_pickles(path: Path) -> None:
    """Look through the older form: what its pickles name, and every length and size in them.

    It is five pickles (magic number, version, machine, objects, the storages' keys) and the
    tensors' bytes behind them. A storage's number of elements stands right before its place in the
    file is asked for.
    """
    with (
        open_regular(path) as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        if MAGIC_NUMBER not in [argument for _, argument in _operations(path, content)]:
            return  # torch reads no further
        for _ in range(_PICKLES_BEHIND_MAGIC):
            number: int | None = None
            for name, argument in _operations(path, content):
                if name in _NUMBERS:
                    number = argument
                elif name == "BINPERSID":
                    if number is None or not 0 <= number <= len(content):
                        raise DamagedFile(
                            f"'{path}' could not be read as weights (a tensor of {number} elements "
                            f"in a file of {len(content)} bytes); it may be cut short."
                        )
                    number = None


def _require_plain_archive(path: Path) -> None:
    """Look through an archive: stored as it is, and what its pickle names."""
    with open_regular(path) as file:
        if directory_bytes(file) > _MAX_DIRECTORY_BYTES:
            raise UnfitFile(path, "is an archive of too many files")
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise DamagedFile(
                        f"'{path}' could not be read as weights (its '{entry.filename}' is packed, "
                        "which torch's own files never are); save it anew with torch.save."
                    )
    pickled = PyTorchFileReader(str(path)).get_record("data.pkl")  # as torch itself finds it
    for _ in _operations(path, BytesIO(pickled)):
        pass


def _operations(path: Path, content: Any) -> Iterator[tuple[str, Any]]:
    """What the pickle at a file's place does, up to its end; nothing of it is done.

    Raises:
        CodeInside: It names something that a file of tensors does not need.
        DamagedFile: It is longer than the pickle of any training.
    """
    start = content.tell()
    for operation, argument, place in pickletools.genops(content):
        if (place or 0) - start > MAX_PICKLE_BYTES:
            raise DamagedFile(f"'{path}' has over {MAX_PICKLE_BYTES:,} bytes beside its tensors.")
        if operation.name in ("GLOBAL", "INST"):
            named = ".".join(str(argument).split(" ")).replace("__builtin__.", "builtins.", 1)
            if named not in _PLAIN:
                raise CodeInside(_refusal(path, named))
        yield operation.name, argument
