"""Files of torch that ask for memory are refused by what they name, before it is asked for."""

import io
import pickle
import subprocess
import sys
import zipfile
from collections import Counter, OrderedDict

import pytest
import torch

from backbones.common.torch_file import CodeInside, read_torch_file

ROOM = 1 << 36  # more than the machine of any test has


def calling(name, *arguments):
    """A pickle of a table that holds what a call gives, in the protocol that torch writes."""
    module, _, function = name.rpartition(".")
    body = pickle.dumps(arguments, 2)[2:-1]
    return b"\x80\x02}X\x01\x00\x00\x00ac" + f"{module}\n{function}\n".encode() + body + b"Rs."


def as_plain_pickle(content):
    return content


def as_older_form(content):
    file = io.BytesIO()
    torch.save({}, file, _use_new_zipfile_serialization=False)
    objects = pickle.dumps({}, 2)
    assert objects in file.getvalue()
    return file.getvalue().replace(objects, content, 1)


def as_keys_of_the_older_form(content):
    file = io.BytesIO()
    torch.save({}, file, _use_new_zipfile_serialization=False)
    keys = pickle.dumps([], 2)
    assert file.getvalue().endswith(keys)
    return file.getvalue().removesuffix(keys) + content


def as_archive(content):
    whole, changed = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.ones(2)}, whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(changed, "w") as new:
        for entry in old.infolist():
            is_pickle = entry.filename.endswith("/data.pkl")
            new.writestr(entry.filename, content if is_pickle else old.read(entry))
    return changed.getvalue()


FORMS = [as_plain_pickle, as_older_form, as_keys_of_the_older_form, as_archive]
CALLS = [
    ("__builtin__.bytearray", ROOM),
    ("builtins.bytearray", ROOM),
    ("torch.FloatTensor", ROOM),
    ("torch.Tensor", ROOM),
    ("torch.storage.UntypedStorage", ROOM),
    ("torch._utils._rebuild_qtensor", ROOM),
    ("_codecs.encode", "00", "hex"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[0])
def test_a_call_that_makes_room_is_refused_by_its_name(form, call, tmp_path, monkeypatch):
    def never(*_, **__):
        raise AssertionError("the file was given to torch")

    path = tmp_path / "a.pth"
    name, *arguments = call
    path.write_bytes(form(calling(name, *arguments)))
    monkeypatch.setattr(torch, "load", never)
    with pytest.raises(CodeInside, match=name.replace("__builtin__", "builtins")):
        read_torch_file(path)


def test_what_checkpoints_hold_is_read(tmp_path):
    checkpoint = {
        "state_dict": OrderedDict(a=torch.ones(2, 3), b=torch.nn.Parameter(torch.zeros(2))),
        "schedulers": [{"milestones": Counter([3, 5]), "base": (0.1, None, True)}],
        "kinds": [torch.float16, torch.Size([1, 2]), {1, 2}, 1j, torch.device("cpu")],
        "tensors": [
            torch.ones(2, dtype=kind) for kind in (torch.bfloat16, torch.int64, torch.bool)
        ],
    }
    for zipped in (True, False):
        torch.save(checkpoint, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
        found = read_torch_file(tmp_path / "a.pth")
        assert found["schedulers"] == checkpoint["schedulers"]
        assert found["kinds"] == checkpoint["kinds"]
        assert torch.equal(found["state_dict"]["a"], checkpoint["state_dict"]["a"])


def test_a_pickle_of_millions_of_operations_is_refused(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(as_archive(b"\x80\x02]" + b"]a" * 5_000_000 + b"."))
    with pytest.raises(Exception, match="over 1,048,576 operations"):
        read_torch_file(path)


def test_a_bomb_takes_no_memory(tmp_path):
    """In a process that may have little more than it has."""
    path = tmp_path / "state.pt"
    path.write_bytes(as_archive(calling("__builtin__.bytearray", 1 << 30)))
    code = (
        "import sys, resource\nfrom pathlib import Path\n"
        "from backbones.runtime.checkpoint import load_state\n"
        "pages = int(Path('/proc/self/statm').read_text().split()[0])\n"
        "most = pages * resource.getpagesize() + (256 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
        "print(load_state(Path(sys.argv[1]), ''))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("None\n")
    assert "bytearray" in done.stdout + done.stderr
