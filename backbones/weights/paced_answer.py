"""Reads a server's response with a minimum speed and a time limit."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse

STALL_SECONDS = 60.0
"""Maximum silence of a server, and the interval over which its speed is measured."""

LEAST_SPEED = 4096.0
"""Minimum bytes per second, averaged over :data:`STALL_SECONDS`."""

END_SECONDS = 24 * 3600.0
"""Maximum duration of one response."""

_CHUNK = 1 << 20
_AHEAD = 4  # chunks that may wait for writing


class BrokenOff(Exception):
    """An incomplete response, with the reason."""


def chunks(response: HTTPResponse) -> Iterator[bytes]:
    """The bytes of a response, in chunks.

    A thread reads them: if a server sends a byte now and then, a single read may block for ever.

    Raises:
        BrokenOff: The connection was lost, or the server is too slow.
    """
    arrived: queue.Queue[bytes | Exception] = queue.Queue(_AHEAD)
    abandoned = threading.Event()
    connection = socket.socket(fileno=os.dup(response.fileno()))
    threading.Thread(target=_read, args=(response, arrived, abandoned), daemon=True).start()
    began = since = time.monotonic()
    came = 0
    try:
        while True:
            chunk = _next(arrived)
            if isinstance(chunk, (HTTPException, OSError, ValueError)):
                raise BrokenOff(str(chunk) or type(chunk).__name__) from chunk
            if isinstance(chunk, Exception):
                raise chunk
            if not chunk:
                return
            yield chunk
            now, came = time.monotonic(), came + len(chunk)
            if now - began > END_SECONDS:
                raise BrokenOff(f"it took over {END_SECONDS / 3600:g} hours")
            if now - since > STALL_SECONDS:
                if came < LEAST_SPEED * (now - since):
                    raise BrokenOff(f"it sent fewer than {LEAST_SPEED:.0f} bytes per second")
                since, came = now, 0
    finally:
        abandoned.set()
        with connection, contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)  # ends a read that would keep the response open


def _next(arrived: queue.Queue[bytes | Exception]) -> bytes | Exception:
    try:
        return arrived.get(timeout=STALL_SECONDS)
    except queue.Empty:
        raise BrokenOff(f"it sent nothing for {STALL_SECONDS:g} seconds") from None


def _read(
    response: HTTPResponse, arrived: queue.Queue[bytes | Exception], abandoned: threading.Event
) -> None:
    chunk: bytes | Exception = b"more"
    while chunk and not isinstance(chunk, Exception):
        try:
            chunk = response.read1(_CHUNK)  # as it arrives, so that little is lost
        except Exception as error:  # passed to the caller
            chunk = error
        while not abandoned.is_set():
            try:
                arrived.put(chunk, timeout=1.0)
                break
            except queue.Full:
                continue
        if abandoned.is_set():
            return
