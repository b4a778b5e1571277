"""Sockets of multiprocessing where the temporary folder is too long for their paths."""

import tempfile
from pathlib import Path

import pytest

from backbones.runtime import socket_folder
from tests.support import processes

PROGRAM = """
import multiprocessing
from multiprocessing import util
from backbones.runtime import socket_folder
socket_folder.shorten()
with multiprocessing.get_context("spawn").Pool(1) as pool:  # ended by a signal
    print(pool.apply(util.get_temp_dir))
"""


def test_a_started_process_shares_the_short_folder_and_leaves_none_behind(tmp_path):
    long = tmp_path / "job-scratch-of-a-cluster-node" / ("x" * 60)
    long.mkdir(parents=True)
    done = processes.alone(PROGRAM, TMPDIR=str(long))
    assert done.stdout.startswith("/tmp/pymp-"), done.stderr
    assert not Path(done.stdout.strip()).exists()


def test_short_folders_are_left_as_they_are(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/tmp")
    monkeypatch.setattr(socket_folder.util, "get_temp_dir", lambda: pytest.fail("asked"))
    socket_folder.shorten()
