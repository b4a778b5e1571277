"""Downloads files: resumable, verified, and never partial under their final name.

Received bytes are in ``<destination>.part``. That file is also the lock: of several processes that
want the same file, one downloads it, and the others wait for it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import queue
import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from backbones.common.errors import UserError
from backbones.common.escape import brief
from backbones.common.locks import try_lock
from backbones.common.regular_file import open_regular
from backbones.weights import paced_answer

OPEN_SECONDS = 12.0
"""Maximum wait for a server's first response, including name lookup and redirections."""

MAX_BYTES = 1 << 33
"""Maximum bytes of a file of unknown size; the largest weights have less than 4 GB."""

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes received and, if known, the total."""

_CHUNK = 1 << 20
_LENGTH = re.compile("[0-9]{1,18}")
_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64}


def fetch(
    url: str,
    destination: Path,
    *,
    checksum: str = "",
    size: int | None = None,
    progress: Progress | None = None,
    patience: float | None = None,
    check: Callable[[Path], None] | None = None,
) -> Path:
    """Ensure that a file exists, downloading it if necessary.

    An interrupted download resumes if there is a checksum to verify the result; otherwise it starts
    over.

    Args:
        url: http or https.
        destination: Path of the file; its folder is created.
        checksum: ``sha256:``, ``sha1:`` or ``md5:`` and at least the first 8 hexadecimal digits.
        size: Size of the file in bytes, if known.
        progress: Called after each piece.
        patience: Maximum wait for the first response in seconds; :data:`OPEN_SECONDS` for None.
        check: Called with the received file before it gets its final name; if it raises a
            UserError, the file is removed.

    Returns:
        ``destination``, complete and verified.

    Raises:
        UserError: Unreachable, missing, interrupted, too slow, too large, unexpected content, or no
            space. An interrupted download is kept; one with a wrong checksum is removed.
        ValueError: ``checksum`` is malformed.
    """
    _require_http(url)
    job = _Job(
        url,
        destination,
        checksum=_parse(checksum),
        size=size,
        progress=progress,
        patience=patience,
        check=check,
    )
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        while not destination.exists():
            if _fetch_unless_another_does(job):
                return destination
    except OSError as error:
        raise UserError(
            f"'{destination}' could not be written ({error.strerror or error}); make sure that "
            f"its folder is writable and the disk is not full, then run this again{job.kept}."
        ) from error
    verify(destination, checksum, size)
    return destination


def verify(
    path: Path, checksum: str = "", size: int | None = None, progress: Progress | None = None
) -> None:
    """Verify a file.

    Args:
        path: The file.
        checksum: As for :func:`fetch`; empty for none.
        size: Its size in bytes, if known.
        progress: Called while the checksum is computed.

    Raises:
        UserError: It differs, is truncated, or cannot be read.
        ValueError: ``checksum`` is malformed.
    """
    expected = _parse(checksum)
    try:
        fault = _fault(path, expected, size, progress)
    except OSError as error:
        raise UserError(f"'{path}' could not be read ({error.strerror or error}).") from error
    if fault:
        raise UserError(
            f"'{path}' is not the file that was expected: {fault}. It was truncated or changed; "
            "remove it and run this again."
        )


def require_space(folder: Path, need: int, purpose: str) -> None:
    """Raise UserError unless a folder's disk has enough space.

    Args:
        folder: Any folder of the disk.
        need: Required bytes.
        purpose: Their purpose, as the subject of the message.
    """
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{purpose} needs {size_text(need)}, but the disk of '{folder}' has only "
            f"{size_text(free)} left; free some space or choose a folder on another disk."
        )


def size_text(count: int) -> str:
    """A number of bytes, formatted for people."""
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} bytes"


@dataclass(frozen=True)
class _Checksum:
    algorithm: str
    digits: str


@dataclass(frozen=True)
class _Job:
    """The arguments of :func:`fetch`."""

    url: str
    destination: Path
    _: KW_ONLY
    checksum: _Checksum | None
    size: int | None
    progress: Progress | None
    patience: float | None = None
    check: Callable[[Path], None] | None = None

    @property
    def part(self) -> Path:
        return self.destination.with_name(self.destination.name + ".part")

    @property
    def kept(self) -> str:
        return "; the received part is kept" if self.checksum else ""

    @property
    def elsewhere(self) -> str:
        return (
            f"Download it on another machine and put it at '{self.destination}', then run "
            "this again."
        )


def _parse(checksum: str) -> _Checksum | None:
    if not checksum:
        return None
    algorithm, _, digits = checksum.lower().partition(":")
    most = _DIGITS.get(algorithm, 0)
    if not 8 <= len(digits) <= most or not re.fullmatch("[0-9a-f]*", digits):
        raise ValueError(f"'{checksum}' is no checksum: write sha256:, sha1: or md5: and digits.")
    return _Checksum(algorithm, digits)


def _fault(
    path: Path, checksum: _Checksum | None, size: int | None, progress: Progress | None = None
) -> str:
    """What is wrong with a file; empty for nothing."""
    has = path.stat().st_size
    if size is not None and has != size:
        return f"it has {has} bytes, not {size}"
    if not checksum:
        return ""
    digest = hashlib.new(checksum.algorithm, usedforsecurity=False)
    with open_regular(path) as file:
        while block := file.read(_CHUNK):
            digest.update(block)
            if progress:
                progress(file.tell(), has)
    found = digest.hexdigest()
    if found.startswith(checksum.digits):
        return ""
    return f"its {checksum.algorithm} is {found}, not {checksum.digits}"


def _fetch_unless_another_does(job: _Job) -> bool:
    """Download under the lock; returns False if another process finished or gave up meanwhile."""
    with job.part.open("a+b") as file:
        _wait_for_lock(file, job)
        if not _is_still(file, job.part):
            return False
        try:
            if job.destination.exists():
                return False
            _fill(file, job)
            job.part.rename(job.destination)
            return True
        finally:
            if job.part.exists() and not job.part.stat().st_size:
                job.part.unlink()


def _wait_for_lock(file: BinaryIO, job: _Job) -> None:
    if try_lock(file):
        return
    logging.getLogger(__name__).warning(
        "Another process is downloading '%s'; waiting for it.", job.destination
    )
    while not try_lock(file):
        time.sleep(0.2)


def _is_still(file: BinaryIO, path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _fill(file: BinaryIO, job: _Job) -> None:
    """Complete ``.part`` and verify it."""
    have = file.seek(0, os.SEEK_END)
    if not job.checksum or (job.size is not None and have > job.size):
        have = file.truncate(0)
    if job.size is None or have < job.size:
        response, have = _open(job, have)
        with response:
            file.truncate(have)
            _receive(response, have, file, job)
    os.fsync(file.fileno())
    fault = _fault(job.part, job.checksum, job.size)
    if fault:
        job.part.unlink()
        raise UserError(
            f"'{job.url}' did not send the expected file: {fault}. It was removed; "
            f"run this again, or download the file elsewhere and put it at '{job.destination}'."
        )
    if job.check:
        try:
            job.check(job.part)
        except UserError as error:
            job.part.unlink()
            raise UserError(f"{error} It was removed. {job.elsewhere}") from error


def _receive(response: HTTPResponse, have: int, file: BinaryIO, job: _Job) -> None:
    """Append the bytes that a server sends."""
    if response.headers.get_content_type() == "text/html" and job.destination.suffix != ".html":
        raise UserError(f"'{job.url}' sent a web page, not a file. {job.elsewhere}")
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if _LENGTH.fullmatch(length) else job.size
    if job.size is not None and total != job.size:
        raise UserError(
            f"'{job.url}' has {total} bytes instead of {job.size}, so it is a different file. "
            f"{job.elsewhere}"
        )
    most = job.size or MAX_BYTES
    if (total or 0) > most:
        raise _too_large(file, job)
    require_space(job.destination.parent, (total or 0) - have, f"'{job.destination.name}'")
    try:
        for chunk in paced_answer.chunks(response):
            have += len(chunk)
            if have > most:
                raise _too_large(file, job)
            file.write(chunk)
            if job.progress:
                job.progress(have, total)
    except paced_answer.BrokenOff as error:
        raise _broken_off(str(error), have, total, job) from error
    file.flush()
    if total is not None and have != total:
        raise _broken_off("the connection was closed", have, total, job)
    if not have:
        raise UserError(f"'{job.url}' sent an empty file. {job.elsewhere}")


def _too_large(file: BinaryIO, job: _Job) -> UserError:
    file.truncate(0)
    most = size_text(job.size or MAX_BYTES)
    return UserError(f"'{job.url}' sent over {most}, so it is a different file. {job.elsewhere}")


def _broken_off(why: str, have: int, total: int | None, job: _Job) -> UserError:
    of = f" of {size_text(total)}" if total else ""
    return UserError(
        f"The download of '{job.url}' was interrupted after {size_text(have)}{of} ({why}); run "
        f"this again to resume{job.kept}."
    )


class _HttpOnly(HTTPRedirectHandler):
    """Follows redirections to http and https, but never from https to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        _require_http(newurl)
        if req.type == "https" and newurl.lower().startswith("http:"):
            raise UserError(
                f"'{req.full_url}' redirects to the unencrypted '{newurl}', which was not "
                "followed; download the file by hand if you trust that address."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_http(url: str) -> None:
    if not re.match("https?://", url, re.IGNORECASE):
        raise UserError(f"'{url}' is not an http or https address, so it is not downloaded.")


def _open(job: _Job, start: int) -> tuple[HTTPResponse, int]:
    """The server's response, and its first byte: ``start``, or 0 if the server cannot resume."""
    answer = _ask(job.url, start, OPEN_SECONDS if job.patience is None else job.patience)
    if start and isinstance(answer, HTTPError) and answer.code == 416:
        answer.close()  # the received part does not fit the server's file
        return _open(job, 0)
    if isinstance(answer, Exception):
        raise _unreachable(answer, job)
    if answer.status not in (200, 206):
        answer.close()
        raise UserError(f"The server returned {answer.status} for '{job.url}'. {job.elsewhere}")
    if not start or answer.status != 206:
        return answer, 0
    if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        answer.close()
        return _open(job, 0)
    return answer, start


def _ask(url: str, start: int, patience: float) -> HTTPResponse | Exception:
    """Request a file, starting at a byte.

    The request runs in a thread, because looking up a name and trying several addresses have no
    time limit.
    """
    headers = {"User-Agent": "transfer-bench", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    answers: queue.Queue[HTTPResponse | Exception] = queue.Queue()

    def ask() -> None:
        try:
            request = Request(url, headers=headers)
            answers.put(build_opener(_HttpOnly).open(request, timeout=paced_answer.STALL_SECONDS))
        except Exception as error:  # returned to the caller
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=patience)
    except queue.Empty:
        return TimeoutError(f"no response in {patience:.0f} seconds")


def _unreachable(error: Exception, job: _Job) -> Exception:
    """The error for the user; other exceptions are defects and are returned unchanged."""
    if isinstance(error, HTTPError):
        error.close()
        return UserError(
            f"The server returned {error.code} ({brief(error.reason)}) for '{job.url}'. "
            f"{job.elsewhere}"
        )
    if isinstance(error, URLError):
        reason = brief(error.reason)
        return UserError(f"'{job.url}' could not be reached ({reason}). {job.elsewhere}")
    if isinstance(error, (HTTPException, OSError, ValueError)):
        return UserError(f"'{job.url}' could not be reached ({brief(error)}). {job.elsewhere}")
    return error
