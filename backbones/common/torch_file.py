"""Reads files of ``torch.save``: tensors and plain data; code is refused."""

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
"""Maximum bytes of a file without its tensors; a checkpoint has less than 1 MB."""

_MAX_DIRECTORY_BYTES = 1 << 23
_PICKLES_BEHIND_MAGIC = 4
_NUMBERS = ("BININT", "BININT1", "BININT2", "LONG1", "LONG4")
_ZIP_MAGIC = b"PK\x03\x04"  # distinguishes the two formats of torch

# Names that a pickle may use. ``weights_only`` allows more: ``bytearray(n)`` and the classes of
# tensors and storages, which allocate as much memory as a few bytes ask for.
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
    """A file that is truncated or has another format."""


class CodeInside(UserError):
    """A pickle that would execute code."""


def read_torch_file(path: Path) -> Any:
    """The content of a file of ``torch.save``, on the CPU.

    torch never compresses its archives. A compressed archive is refused, because it could unpack to
    any size. torch itself checks the sizes in an archive's pickle; the sizes in the older format
    are checked here.

    Raises:
        CodeInside: It contains more than tensors and plain data.
        DamagedFile: It is truncated or not a file of torch.
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
    except Exception as error:  # torch may raise anything on malformed bytes
        first_line = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise DamagedFile(
            f"'{path}' could not be read as weights ({first_line}); it may be truncated or "
            "have another format; give .safetensors, a torch state dict, or MXNet .params."
        ) from error


def _refusal(path: Path, named: str = "") -> str:
    name = f" ({named})" if named else ""
    return (
        f"'{path}' was refused: it is a pickle that contains more than tensors{name}; reading "
        "it would execute code. Save only its state dict (torch.save(model.state_dict(), …)), or "
        "save it as safetensors."
    )


def _is_archive(path: Path) -> bool:
    with open_regular(path) as file:
        return file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC


def _require_plain_pickles(path: Path) -> None:
    """Check the older format: the names in its pickles, and all lengths and sizes.

    It consists of five pickles (magic number, version, machine, objects, keys of the storages),
    followed by the bytes of the tensors. The number of elements of a storage directly precedes the
    request for the storage.
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
                            f"in a file of {len(content)} bytes); it may be truncated."
                        )
                    number = None


def _require_plain_archive(path: Path) -> None:
    """Check an archive: no compression, and the names in its pickle."""
    with open_regular(path) as file:
        if directory_bytes(file) > _MAX_DIRECTORY_BYTES:
            raise UnfitFile(path, "is an archive with too many files")
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise DamagedFile(
                        f"'{path}' could not be read as weights ('{entry.filename}' in it is "
                        "compressed, unlike in torch's own files); save it again with torch.save."
                    )
    pickled = PyTorchFileReader(str(path)).get_record("data.pkl")  # as torch itself finds it
    for _ in _operations(path, BytesIO(pickled)):
        pass


def _operations(path: Path, content: Any) -> Iterator[tuple[str, Any]]:
    """The operations of the pickle at the file's position; none is executed.

    Raises:
        CodeInside: It uses a name that a file of tensors does not need.
        DamagedFile: It is too long.
    """
    start = content.tell()
    for operation, argument, place in pickletools.genops(content):
        if (place or 0) - start > MAX_PICKLE_BYTES:
            raise DamagedFile(
                f"'{path}' has more than {MAX_PICKLE_BYTES:,} bytes beside its tensors."
            )
        if operation.name in ("GLOBAL", "INST"):
            named = ".".join(str(argument).split(" ")).replace("__builtin__.", "builtins.", 1)
            if named not in _PLAIN:
                raise CodeInside(_refusal(path, named))
        yield operation.name, argument
