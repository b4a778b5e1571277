"""Unpacks untrusted archives: nothing outside their folder, and within limits.

Only plain files and folders are created, only in a folder of the archive's own: bytes are copied
one file at a time, so links, devices, owners and permissions in the archive have no effect.
"""

from __future__ import annotations

import gzip
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from backbones.common.errors import UserError
from backbones.common.regular_file import open_regular
from backbones.common.zip_directory import directory_bytes
from backbones.weights.download import require_space

_MAX_DIRECTORY_BYTES = 1 << 25
MAX_FILES = 200_000
"""Most entries and folders of an archive; VOC 2012's has some 40 thousand."""

_CHUNK = 1 << 20
_DEEPEST = 32  # folders in a name
_HEADERS = 1 << 28  # room for the headers of :data:`MAX_FILES` files
_LONG_HEADER = 1 << 12  # of an entry's name and other headers; Linux has no longer paths
_LONG_HEADERS = 1 << 24  # of all over one block: tarfile needs the square of each one's length
_FOREIGN = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, struct.error)
_FOREIGN_TOO = (EOFError, LookupError, NotImplementedError, OverflowError, RuntimeError, ValueError)


class _Refused(Exception):
    """The reason for refusing an archive, as the rest of a sentence that starts with "it"."""


@dataclass(frozen=True)
class _Entry:
    """One entry of an archive; ``kind`` is file, folder, or another kind."""

    name: str
    size: int
    kind: str
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path,
    *,
    into: Path,
    most: int,
    wanted: tuple[str, ...] = (),
    progress: Callable[[int, int | None], None] | None = None,
) -> None:
    """Unpack a tar, tar.gz or zip archive.

    Args:
        archive: The file.
        into: A new folder, which is created, and removed if unpacking fails.
        most: Limit of the bytes of all files together, unpacked or not.
        wanted: Prefixes of the names to unpack; empty for all.
        progress: Notified of the unpacked bytes, and the total or None.

    Raises:
        UserError: The archive is damaged or contains something forbidden: names that lead out of
            its folder, links, devices, duplicate files, more bytes than stated or than ``most``.
            Or the disk is full.
    """
    into.mkdir(parents=True)
    try:
        with ExitStack() as stack:
            total, entries = _entries(archive, most, stack)
            require_space(into, total or 0, f"Unpacking '{archive.name}'")
            for done in _unpack(entries, into, most, wanted):
                if progress:
                    progress(done, total)
    except (_Refused, *_FOREIGN, *_FOREIGN_TOO) as error:
        shutil.rmtree(into, ignore_errors=True)
        raise UserError(
            f"The archive '{archive}' was refused: it {_reason(error)}. Nothing was unpacked; "
            "download it again from its source."
        ) from error
    except OSError as error:
        shutil.rmtree(into, ignore_errors=True)
        raise UserError(
            f"'{archive}' could not be unpacked into '{into.parent}' ({error.strerror or error}); "
            "check that the disk is not full and is writable, and run this again."
        ) from error
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        raise


def _reason(error: Exception) -> str:
    if isinstance(error, _Refused):
        return str(error)
    return f"is damaged ({type(error).__name__}: {error})"


def _unpack(
    entries: Iterator[_Entry],
    into: Path,
    most: int,
    wanted: tuple[str, ...],
) -> Iterator[int]:
    """Unpack entry by entry, and yield the number of unpacked bytes."""
    declared = done = 0
    folders: set[tuple[str, ...]] = set()
    for number, entry in enumerate(entries, 1):
        parts = _safe_parts(entry.name)
        declared += entry.size
        folders.update(parts[:depth] for depth in range(1, len(parts)))
        if entry.size < 0 or declared > most or number + len(folders) > MAX_FILES:
            raise _Refused(f"holds more than the {most:,} bytes and {MAX_FILES:,} files allowed")
        name = "/".join(parts) + ("/" if entry.kind == "folder" else "")
        if wanted and not name.startswith(wanted):
            continue
        target = into.joinpath(*parts)
        try:
            if entry.kind == "folder":
                target.mkdir(parents=True, exist_ok=True)
            elif entry.kind == "file":
                _copy(entry, target)
            else:
                raise _Refused(f"holds {entry.kind}, '{entry.name}'")
        except (FileExistsError, NotADirectoryError) as error:
            raise _Refused(f"holds '{entry.name}' twice") from error
        done += entry.size
        yield done


def _safe_parts(name: str) -> tuple[str, ...]:
    path = PurePosixPath(name)
    if len(path.parts) > _DEEPEST:
        raise _Refused(f"holds a name of {len(path.parts)} nested folders")
    if path.is_absolute() or ".." in path.parts or "\\" in name or not name.isprintable():
        raise _Refused(f"holds the name {name!r}, which is not a plain path inside it")
    return path.parts


def _copy(entry: _Entry, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    has = 0
    with entry.open() as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            has += len(chunk)
            if has > entry.size:
                break
            file.write(chunk)
    if has != entry.size:
        raise _Refused(f"states a wrong size for '{entry.name}', {entry.size} bytes")


def _entries(archive: Path, most: int, stack: ExitStack) -> tuple[int | None, Iterator[_Entry]]:
    """The bytes to unpack, if known, and the archive's entries."""
    file = stack.enter_context(open_regular(archive))
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"PK":
        try:
            large = directory_bytes(file) > _MAX_DIRECTORY_BYTES
        except ValueError as error:
            raise zipfile.BadZipFile(str(error)) from error
        if large:
            raise _Refused(f"holds more than the {MAX_FILES:,} files allowed")
        infos = stack.enter_context(zipfile.ZipFile(file))
        if len(infos.infolist()) > MAX_FILES:
            raise _Refused(f"holds more than the {MAX_FILES:,} files allowed")
        return sum(info.file_size for info in infos.infolist()), _zip_entries(infos)
    if magic[:2] == b"\x1f\x8b":
        unzipped = stack.enter_context(gzip.GzipFile(fileobj=file))
        return None, _tar_entries(_Bounded(unzipped, most + _HEADERS), stack)
    size = archive.stat().st_size
    return size, _tar_entries(_Bounded(file, most + _HEADERS), stack)


class _Bounded:
    """A stream that fails when a tar archive requests absurd amounts.

    Args:
        stream: The bytes.
        most: Furthest readable position.

    Attributes:
        in_headers: Whether headers are read now, and not a file.
        last: The bytes of the last read.
    """

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, most: int) -> None:
        self._stream = stream
        self._most = most
        self._long = 0
        self.in_headers = True
        self.last = b""

    def read(self, count: int) -> bytes:
        if not 0 <= count <= (_LONG_HEADER if self.in_headers else _CHUNK):
            raise _Refused(f"has a header of {count} bytes")
        if self.in_headers and count > tarfile.BLOCKSIZE:
            self._long += count
            if self._long > _LONG_HEADERS:
                raise _Refused(f"has over {_LONG_HEADERS:,} bytes of long names and other headers")
        self.last = self._stream.read(count)
        return self.last

    def seek(self, position: int) -> int:
        if not 0 <= position <= self._most:
            raise _Refused(f"extends to byte {position:,}, which exceeds the limit")
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()


def _tar_entries(stream: _Bounded, stack: ExitStack) -> Iterator[_Entry]:
    # The stream has all methods that are called; the type stubs lack "members".
    archive: Any = tarfile.open(fileobj=cast(Any, stream), mode="r:")  # noqa: SIM115
    stack.enter_context(archive)
    while (member := archive.next()) is not None:
        stream.in_headers = False
        yield _Entry(member.name, member.size, _tar_kind(member), partial(_body, archive, member))
        stream.in_headers = True
        archive.members.clear()  # otherwise it keeps every entry
    if stream.last.strip(b"\0"):  # tarfile takes an invalid header for the end of the archive
        raise _Refused("is damaged: one of its headers is invalid")


def _body(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    body = archive.extractfile(member)
    assert body is not None  # only called for plain files
    return body


def _tar_kind(member: tarfile.TarInfo) -> str:
    if member.isdir():
        return "folder"
    if member.issym() or member.islnk():
        return "a link"
    if member.isreg() and not member.issparse():
        return "file"
    return "something other than files and folders"


def _zip_entries(archive: zipfile.ZipFile) -> Iterator[_Entry]:
    for info in archive.infolist():
        yield _Entry(info.filename, info.file_size, _zip_kind(info), partial(archive.open, info))


def _zip_kind(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "a link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "something other than files and folders"
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "a file that is encrypted or has an unsupported compression"
    return "folder" if info.is_dir() else "file"
