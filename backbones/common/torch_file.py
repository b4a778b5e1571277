"""Reads files of ``torch.save``: tensors and plain data; code is refused."""

from __future__ import annotations

import mmap
import pickle
import pickletools
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch._C import PyTorchFileReader
from torch.serialization import MAGIC_NUMBER

from backbones.common.errors import UserError
from backbones.common.regular_file import UnfitFile, open_regular
from backbones.common.zip_directory import directory_bytes

MAX_PICKLE_BYTES = 1 << 23
"""Maximum bytes of a file without its tensors; a checkpoint has less than 1 MB."""

_MAX_OPERATIONS = 1 << 20  # of a pickle; a training's checkpoint has some 100,000
_MAX_DIRECTORY_BYTES = 1 << 23
_SLOW_CODECS = frozenset({"punycode", "idna"})  # whose time grows with the square of the text
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


@dataclass(frozen=True)
class MoreNames:
    """What a pickle may name beside tensors and plain data.

    Attributes:
        names: With their modules, dotted.
        allowed: What they become, as ``torch.serialization.safe_globals`` takes it.
        pickle_bytes: Most bytes of a file beside its tensors.
    """

    names: frozenset[str] = frozenset()
    allowed: tuple[Any, ...] = ()
    pickle_bytes: int = MAX_PICKLE_BYTES


_NO_MORE = MoreNames()


def read_torch_file(
    source: Path | BytesIO, map_location: Any = "cpu", more: MoreNames = _NO_MORE
) -> Any:
    """The content of a file of ``torch.save``.

    torch never compresses its archives. A compressed archive is refused, because it could unpack to
    any size. torch itself checks the sizes in an archive's pickle; the sizes in the older format
    are checked here.

    Args:
        source: The file, or its bytes.
        map_location: As ``torch.load`` takes it.
        more: What its pickle may name beside tensors and plain data.

    Raises:
        CodeInside: It contains more than tensors and plain data.
        DamagedFile: It is truncated or not a file of torch.
    """
    path = source if isinstance(source, Path) else Path("a checkpoint in memory")
    try:
        with _opened(source) as file:
            is_archive = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
            file.seek(0)
            (_require_plain_archive if is_archive else _require_plain_pickles)(path, file, more)
        if isinstance(source, BytesIO):
            source.seek(0)  # what was looked through is what torch reads
        with torch.serialization.safe_globals(list(more.allowed)):
            return torch.load(source, map_location=map_location, weights_only=True)
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


@contextmanager
def _opened(source: Path | BytesIO) -> Iterator[BinaryIO]:
    if isinstance(source, BytesIO):
        yield BytesIO(source.getbuffer())
    else:
        with open_regular(source) as file:
            yield file


def _require_plain_pickles(path: Path, file: BinaryIO, more: MoreNames) -> None:
    """Check the older format: the names in its pickles, and all lengths and sizes.

    It consists of five pickles (magic number, version, machine, objects, keys of the storages),
    followed by the bytes of the tensors. The number of elements of a storage directly precedes the
    request for the storage.
    """
    content: Any = file
    if not isinstance(file, BytesIO):  # a read of a claimed length makes room for all of it
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    with content:
        size = len(content.getbuffer()) if isinstance(content, BytesIO) else len(content)
        if MAGIC_NUMBER not in [argument for _, argument in _operations(path, content, more)]:
            return  # torch reads no further
        for _ in range(_PICKLES_BEHIND_MAGIC):
            number: int | None = None
            for name, argument in _operations(path, content, more):
                if name in _NUMBERS:
                    number = argument
                elif name == "BINPERSID":
                    if number is None or not 0 <= number <= size:
                        raise DamagedFile(
                            f"'{path}' could not be read as weights (a tensor of {number} elements "
                            f"in a file of {size} bytes); it may be truncated."
                        )
                    number = None


def _require_plain_archive(path: Path, file: BinaryIO, more: MoreNames) -> None:
    """Check an archive: no compression, and the names in its pickle."""
    if directory_bytes(file) > _MAX_DIRECTORY_BYTES:
        raise UnfitFile(path, "is an archive with too many files")
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise DamagedFile(
                    f"'{path}' could not be read as weights ('{entry.filename}' in it is "
                    "compressed, unlike in torch's own files); save it again with torch.save."
                )
    file.seek(0)
    pickled = PyTorchFileReader(file).get_record("data.pkl")  # as torch itself finds it
    for _ in _operations(path, BytesIO(pickled), more):
        pass


def _operations(path: Path, content: Any, more: MoreNames) -> Iterator[tuple[str, Any]]:
    """The operations of the pickle at the file's position; none is executed.

    Raises:
        CodeInside: It uses a name that a file of tensors does not need.
        DamagedFile: It is too long.
    """
    start = content.tell()
    for number, (operation, argument, place) in enumerate(pickletools.genops(content)):
        if (place or 0) - start > more.pickle_bytes:
            raise DamagedFile(f"'{path}' has over {more.pickle_bytes:,} bytes beside its tensors.")
        if number > _MAX_OPERATIONS:
            raise DamagedFile(f"'{path}' has a pickle of over {_MAX_OPERATIONS:,} operations.")
        if operation.name in ("GLOBAL", "INST"):
            named = ".".join(str(argument).split(" ")).replace("__builtin__.", "builtins.", 1)
            if named not in _PLAIN and named not in more.names:
                raise CodeInside(_refusal(path, named))
        elif (
            isinstance(argument, str)
            and re.sub(r"[\W_]", "", argument[:20]).lower() in _SLOW_CODECS
        ):
            raise CodeInside(_refusal(path, argument))
        yield operation.name, argument
