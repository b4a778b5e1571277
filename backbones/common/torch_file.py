"""Files of ``torch.save``, read as tensors and plain data; what would execute code is refused."""

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
"""Most bytes of a file beside its tensors; a training's checkpoint has under 1 MB of them."""

_MAX_OPERATIONS = 1 << 20  # of a pickle; a training's checkpoint has some 100,000
_MAX_DIRECTORY_BYTES = 1 << 23
_SLOW_CODECS = frozenset({"punycode", "idna"})  # whose time grows with the square of the text
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
    """What a file of ``torch.save`` holds.

    torch stores tensors as they are; an archive that is packed could unpack to any size, so it is
    refused. Sizes in an archive's pickle are held against the archive's by torch itself, those of
    the older form are held against the file's here.

    Args:
        source: The file, or its bytes.
        map_location: As ``torch.load`` takes it.
        more: What its pickle may name beside tensors and plain data.

    Raises:
        CodeInside: It holds more than tensors and plain data.
        DamagedFile: It is no whole file of torch's.
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


@contextmanager
def _opened(source: Path | BytesIO) -> Iterator[BinaryIO]:
    if isinstance(source, BytesIO):
        yield BytesIO(source.getbuffer())
    else:
        with open_regular(source) as file:
            yield file


def _require_plain_pickles(path: Path, file: BinaryIO, more: MoreNames) -> None:
    """Look through the older form: what its pickles name, and every length and size in them.

    It is five pickles (magic number, version, machine, objects, the storages' keys) and the
    tensors' bytes behind them. A storage's number of elements stands right before its place in the
    file is asked for.
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
                            f"in a file of {size} bytes); it may be cut short."
                        )
                    number = None


def _require_plain_archive(path: Path, file: BinaryIO, more: MoreNames) -> None:
    """Look through an archive: stored as it is, and what its pickle names."""
    if directory_bytes(file) > _MAX_DIRECTORY_BYTES:
        raise UnfitFile(path, "is an archive of too many files")
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise DamagedFile(
                    f"'{path}' could not be read as weights (its '{entry.filename}' is packed, "
                    "which torch's own files never are); save it anew with torch.save."
                )
    file.seek(0)
    pickled = PyTorchFileReader(file).get_record("data.pkl")  # as torch itself finds it
    for _ in _operations(path, BytesIO(pickled), more):
        pass


def _operations(path: Path, content: Any, more: MoreNames) -> Iterator[tuple[str, Any]]:
    """What the pickle at a file's place does, up to its end; nothing of it is done.

    Raises:
        CodeInside: It names something that a file of tensors does not need.
        DamagedFile: It is longer than the pickle of any training.
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
