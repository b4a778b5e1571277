"""A folder for multiprocessing's sockets, whose paths the system bounds; imports nothing heavy."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from multiprocessing import util

_LONGEST_ADDRESS = 107 if sys.platform == "linux" else 103  # bytes of a socket's path
_LISTENER = len("/pymp-xxxxxxxx/listener-xxxxxxxx")  # what multiprocessing puts behind the folder
_SHORT = "/tmp"


def shorten() -> None:
    """Let this process, and those that it starts, have their sockets where paths are short enough.

    Where the temporary folder is short nothing is changed. The folder is removed as this process
    ends. One that cannot be made is told by whoever needs a socket.
    """
    if len(os.fsencode(tempfile.gettempdir())) + _LISTENER <= _LONGEST_ADDRESS:
        return
    usual, tempfile.tempdir = tempfile.tempdir, _SHORT
    try:
        with contextlib.suppress(OSError):
            util.get_temp_dir()  # made once in a process, and handed on to those that it starts
    finally:
        tempfile.tempdir = usual
