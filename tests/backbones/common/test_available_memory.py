"""The memory that new processes may use, against what the system itself reports."""

import shutil
import subprocess

import pytest

from backbones.common import hardware


@pytest.mark.skipif(not shutil.which("free"), reason="needs the command free")
def test_it_is_at_most_what_the_system_reports():
    available = hardware.available_memory()
    row = next(r for r in subprocess.check_output(["free", "-b"], text=True).splitlines()[1:])
    assert 0 < available < int(row.split()[1])


def test_it_is_0_where_nothing_is_reported(monkeypatch):
    monkeypatch.setattr(hardware.Path, "read_text", _refused)
    assert hardware.available_memory() == 0


def _refused(*_, **__):
    raise OSError("no such file")
