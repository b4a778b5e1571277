"""What lies in the place of a file that a user named."""

import os
import unicodedata

import pytest

from backbones.common.errors import UserError
from backbones.common.paths import expanded, missing, missing_folder, nearby, unknown_name
from backbones.zoo.sources import weights_file


@pytest.mark.parametrize(
    ("named", "there"),
    [
        ("mine.toml", "mine.toml.txt"),
        ("mine.toml", "mine.TOML"),
        ("mine.toml", "Mine.toml"),
        ("mine.toml", "mine.toml "),
        ("model.pth", "model.safetensors"),
        ("model_best.pth", "model_bset.pth"),
        (unicodedata.normalize("NFC", "müll.toml"), unicodedata.normalize("NFD", "müll.toml")),
    ],
)
def test_what_was_meant_is_named(tmp_path, named, there):
    (tmp_path / there).touch()
    message = missing(tmp_path / named)
    assert str(tmp_path / named) in message
    assert f"'{there}'" in message


def test_backslashes_are_turned(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "v.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert "'a/v.toml'" in str(unknown_name("data set", "a\\v.toml", []))


def test_a_folder_a_pipe_and_a_dead_link_are_reported(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    assert "is a folder" in missing(tmp_path)
    assert "not a regular file" in missing(tmp_path / "pipe")
    assert "link to 'nowhere'" in missing(tmp_path / "link")


def test_of_missing_folders_the_last_that_is_there_is_named(tmp_path):
    assert f"only '{tmp_path}' exists" in missing(tmp_path / "a" / "b" / "c.toml")


def test_a_path_is_reported_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=str(tmp_path / "no.pth")):
        weights_file("no.pth")
    (tmp_path / "results").touch()
    (tmp_path / "records").mkdir()
    from pathlib import Path

    assert missing_folder(Path("results")).startswith(f"'{tmp_path}/results' is a file")
    assert "'records'" in missing_folder(Path("recrods"))


@pytest.mark.parametrize("name", ["a\0b.toml", "x" * 300 + ".toml"])
def test_impossible_names_are_reported(tmp_path, name):
    assert missing(tmp_path / name)
    assert missing_folder(tmp_path / name)


def test_the_home_of_nobody_is_an_error_for_people(monkeypatch):
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 54321)
    for path in ("~/mine.toml", "~nobody-of-that-name/mine.toml"):
        with pytest.raises(UserError, match="home folder"):
            expanded(path)


@pytest.mark.parametrize("name", ["there", "x" * 300, "\0", "gone"])
def test_nothing_is_near_what_is_there_or_cannot_be(tmp_path, name):
    (tmp_path / "there").mkdir()
    assert nearby(tmp_path / name) == ""
    assert "'there'" in nearby(tmp_path / "ther")
