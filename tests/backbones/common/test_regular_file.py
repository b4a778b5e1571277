"""Only regular files are opened, and nobody is waited for."""

import os
import pickle
import socket
from pathlib import Path

import pytest

from backbones.common.regular_file import UnfitFile, is_hidden, open_regular, read_bytes, read_text


def named_pipe(path):
    os.mkfifo(path)


def folder(path):
    path.mkdir()


def link_to_a_device(path):
    path.symlink_to("/dev/zero")


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (named_pipe, "a named pipe"),
        (folder, "a folder"),
        (link_to_a_device, "a device"),
        (unix_socket, "a socket"),
    ],
)
def test_what_is_no_regular_file_is_named_with_its_absolute_path(
    make, reason, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    make(Path("odd"))
    with pytest.raises(UnfitFile, match=f"'{tmp_path}/odd' is {reason}"):
        open_regular(Path("odd"))


def test_a_regular_file_is_read_through_a_link(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").symlink_to("a")
    assert read_bytes(tmp_path / "b", 3) == b"abc"


def test_a_file_that_is_too_large_is_named_with_the_bound(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # more than a machine has
    with pytest.raises(UnfitFile, match="more than the 1,000 bytes"):
        read_bytes(path, 1000)


def test_a_missing_file_is_missing_and_no_fault_of_its_kind(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
def test_a_name_that_no_file_can_have_is_a_sentence(name):
    with pytest.raises(UnfitFile, match="is not a valid file name") as raised:
        open_regular(Path(name))
    str(raised.value).encode()


def test_text_must_be_utf_8(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff")
    with pytest.raises(UnfitFile, match="not text in UTF-8"):
        read_text(tmp_path / "a", 9)


def test_the_error_survives_a_way_through_another_process(tmp_path):
    error = pickle.loads(pickle.dumps(UnfitFile(tmp_path, "is a folder")))
    assert (error.path, error.reason) == (tmp_path, "is a folder")


def test_names_with_a_dot_before_them_are_hidden():
    assert is_hidden(Path("a/._b.json"))
    assert is_hidden(Path(".DS_Store"))
    assert not is_hidden(Path("..a/b.json"))
