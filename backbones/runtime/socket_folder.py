"""A folder for multiprocessing's sockets, whose paths must be short; imports nothing heavy."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from multiprocessing import util

_LONGEST_ADDRESS = 107 if sys.platform == "linux" else 103  # bytes of a socket's path
_LISTENER = len("/pymp-xxxxxxxx/listener-xxxxxxxx")  # appended by multiprocessing
_SHORT = "/tmp"


def shorten() -> None:
    """Give this process and its children a socket folder with a short path.

    If the path of the temporary folder is short, nothing changes. The folder is removed when this
    process ends. If it cannot be created, the code that needs a socket reports the error.
    """
    if len(os.fsencode(tempfile.gettempdir())) + _LISTENER <= _LONGEST_ADDRESS:
        return
    usual, tempfile.tempdir = tempfile.tempdir, _SHORT
    try:
        with contextlib.suppress(OSError):
            util.get_temp_dir()  # created once per process and inherited by its children
    finally:
        tempfile.tempdir = usual
