"""Fetching a file from an address: resumable, checked, and never half there under its name.

What has arrived so far lies in ``<destination>.part``. That file is the lock as well: of several
processes that want the same file one fetches it, and the others wait and find it there.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import queue
import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from backbones.common.errors import UserError

OPEN_SECONDS = 12.0
"""Longest wait for a server's first answer: name, connection, redirections and all."""

STALL_SECONDS = 60.0
"""Longest silence of a server that has begun to send."""

Progress = Callable[[int, "int | None"], None]
"""Told the bytes that are done, and how many there are where that is known."""

_CHUNK = 1 << 20
_DIGITS = {"md5": 32, "sha1": 40, "sha256": 64}


def fetch(
    url: str,
    destination: Path,
    checksum: str = "",
    size: int | None = None,
    progress: Progress | None = None,
    *,
    patience: float | None = None,
    check: Callable[[Path], None] | None = None,
) -> Path:
    """Have a file at a place, fetching it if it is not there.

    A download that broke off is gone on with where a checksum can tell, in the end, whether the
    parts belong together; without a checksum it starts over.

    Args:
        url: http or https.
        destination: Where the file is to lie; the folder is made.
        checksum: ``sha256:``, ``sha1:`` or ``md5:`` and at least the first 8 hexadecimal digits.
        size: Bytes that the file must have, if known.
        progress: Called after each piece.
        patience: Longest wait for the first answer in seconds; :data:`OPEN_SECONDS` for None.
        check: Called with what has arrived before it gets its name; a UserError of it is raised
            on, and what has arrived is removed.

    Returns:
        ``destination``, whole and verified.

    Raises:
        UserError: Not reachable, not there, cut off, not the file that was expected, or no room.
            A download that was cut off is kept; one with a wrong checksum is removed.
        ValueError: ``checksum`` is none.
    """
    _require_http(url)
    job = _Job(url, destination, _parse(checksum), size, progress, patience, check)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        while not destination.exists():
            if _fetch_unless_another_does(job):
                return destination
    except OSError as error:
        raise UserError(
            f"'{destination}' could not be written ({error.strerror or error}); see that you may "
            f"write to its folder and that the disk is not full, then run this again{job.kept}."
        ) from error
    verify(destination, checksum, size)
    return destination


def verify(
    path: Path, checksum: str = "", size: int | None = None, progress: Progress | None = None
) -> None:
    """Hold a file against what is known of it.

    Args:
        path: The file.
        checksum: As for :func:`fetch`; empty for none.
        size: Bytes that it must have, if known.
        progress: Called while the checksum is computed.

    Raises:
        UserError: It is another file, cut short, or cannot be read.
        ValueError: ``checksum`` is none.
    """
    expected = _parse(checksum)
    try:
        fault = _fault(path, expected, size, progress)
    except OSError as error:
        raise UserError(f"'{path}' could not be read ({error.strerror or error}).") from error
    if fault:
        raise UserError(
            f"'{path}' is not the file that was expected: {fault}. It was cut short or changed; "
            "remove it and run this again."
        )


def require_space(folder: Path, need: int, purpose: str) -> None:
    """Raise UserError unless a folder's disk has room.

    Args:
        folder: Any folder of the disk.
        need: Bytes.
        purpose: What they are for, as the sentence's subject.
    """
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UserError(
            f"{purpose} needs {size_text(need)} and the disk of '{folder}' has {size_text(free)} "
            "left; make room or choose a folder on another disk."
        )


def size_text(count: int) -> str:
    """A number of bytes, for people."""
    for unit, length in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} bytes"


def try_lock(file: IO[Any] | int) -> bool:
    """Take the lock of an open file, which ends with the process; False where another has it.

    On a disk that knows no locks the answer is True: there only the checksum protects.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@dataclass(frozen=True)
class _Checksum:
    algorithm: str
    digits: str


@dataclass(frozen=True)
class _Job:
    """What :func:`fetch` was asked for."""

    url: str
    destination: Path
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
        return ": what has arrived is kept" if self.checksum else ""

    @property
    def elsewhere(self) -> str:
        return (
            f"Fetch it on a machine that reaches it and put it at '{self.destination}', then run "
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
    """What is wrong with a file; empty if nothing."""
    has = path.stat().st_size
    if size is not None and has != size:
        return f"it has {has} bytes, not {size}"
    if not checksum:
        return ""
    digest = hashlib.new(checksum.algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
            if progress:
                progress(file.tell(), has)
    found = digest.hexdigest()
    if found.startswith(checksum.digits):
        return ""
    return f"its {checksum.algorithm} is {found}, not {checksum.digits}"


def _fetch_unless_another_does(job: _Job) -> bool:
    """Fetch under the lock; False where another process fetched, or gave up, meanwhile."""
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
        "Another process is fetching '%s'; waiting for it.", job.destination
    )
    while not try_lock(file):
        time.sleep(0.2)


def _is_still(file: BinaryIO, path: Path) -> bool:
    """Whether an open file is the one that has this name now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _fill(file: BinaryIO, job: _Job) -> None:
    """Bring ``.part`` to its end and verify it."""
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
            f"What '{job.url}' sent is not the file that was expected: {fault}. It was removed; "
            f"run this again, or fetch the file elsewhere and put it at '{job.destination}'."
        )
    if job.check:
        try:
            job.check(job.part)
        except UserError as error:
            job.part.unlink()
            raise UserError(f"{error} It was removed. {job.elsewhere}") from error


def _receive(response: HTTPResponse, have: int, file: BinaryIO, job: _Job) -> None:
    """Append what a server sends after the bytes that are there."""
    if response.headers.get_content_type() == "text/html" and job.destination.suffix != ".html":
        raise UserError(f"'{job.url}' answers with a web page, not with a file. {job.elsewhere}")
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if length.isdigit() else job.size
    if job.size is not None and total != job.size:
        raise UserError(
            f"'{job.url}' has {total} bytes where {job.size} were expected, so it is another file. "
            f"{job.elsewhere}"
        )
    require_space(job.destination.parent, (total or 0) - have, f"'{job.destination.name}'")
    while chunk := _next_chunk(response, have, total, job):
        file.write(chunk)
        have += len(chunk)
        if job.progress:
            job.progress(have, total)
    file.flush()
    if total is not None and have != total:
        raise _broken_off("the connection was closed", have, total, job)


def _next_chunk(response: HTTPResponse, have: int, total: int | None, job: _Job) -> bytes:
    try:
        return response.read1(_CHUNK)  # as it comes, so that little is lost
    except (HTTPException, OSError) as error:
        raise _broken_off(str(error) or type(error).__name__, have, total, job) from error


def _broken_off(why: str, have: int, total: int | None, job: _Job) -> UserError:
    of = f" of {size_text(total)}" if total else ""
    return UserError(
        f"The download of '{job.url}' broke off after {size_text(have)}{of} ({why}); run this "
        f"again to go on{job.kept}."
    )


class _HttpOnly(HTTPRedirectHandler):
    """Follows redirections to http and https, and never from https back to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        _require_http(newurl)
        if req.type == "https" and newurl.lower().startswith("http:"):
            raise UserError(
                f"'{req.full_url}' redirects to the unprotected '{newurl}', which was not "
                "followed; fetch the file by hand if you trust that address."
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_http(url: str) -> None:
    if not re.match("https?://", url, re.IGNORECASE):
        raise UserError(f"'{url}' is not an http or https address, so nothing is fetched from it.")


def _open(job: _Job, start: int) -> tuple[HTTPResponse, int]:
    """The server's answer, and the byte that it starts at: ``start``, or 0 where it cannot."""
    answer = _ask(job.url, start, OPEN_SECONDS if job.patience is None else job.patience)
    if start and isinstance(answer, HTTPError) and answer.code == 416:
        answer.close()  # what is there does not fit what the server has
        return _open(job, 0)
    if isinstance(answer, Exception):
        raise _unreachable(answer, job)
    if not start or answer.status != 206:
        return answer, 0
    if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        answer.close()
        return _open(job, 0)
    return answer, start


def _ask(url: str, start: int, patience: float) -> HTTPResponse | Exception:
    """Ask for a file from a byte on.

    The call is made in a thread, since looking up a name and trying address after address know no
    limit of their own.
    """
    headers = {"User-Agent": "transfer-bench", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    answers: queue.Queue[HTTPResponse | Exception] = queue.Queue()

    def ask() -> None:
        try:
            request = Request(url, headers=headers)
            answers.put(build_opener(_HttpOnly).open(request, timeout=STALL_SECONDS))
        except Exception as error:  # handed over, not swallowed
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=patience)
    except queue.Empty:
        return TimeoutError(f"no answer in {patience:.0f} seconds")


def _unreachable(error: Exception, job: _Job) -> Exception:
    """The error for the person; a defect of the code stays what it is."""
    if isinstance(error, HTTPError):
        error.close()
        return UserError(
            f"The server answers {error.code} ({error.reason}) for '{job.url}'. {job.elsewhere}"
        )
    if isinstance(error, URLError):
        return UserError(f"'{job.url}' could not be reached ({error.reason}). {job.elsewhere}")
    if isinstance(error, (HTTPException, OSError, ValueError)):
        return UserError(f"'{job.url}' could not be reached ({error}). {job.elsewhere}")
    return error
