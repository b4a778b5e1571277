"""TOML as people's editors save it."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.common.errors import UserError
from backbones.common.text_encoding import decoded
from backbones.common.toml_file import read_toml

TEXT = 'name = "Schräge 螺栓"\n'


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]),
)
@settings(deadline=None)
def test_marked_text_is_read_without_its_mark(text, encoding):
    assert decoded(text.encode(encoding)) == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_toml_is_read_with_and_without_a_mark(tmp_path, encoding):
    path = tmp_path / "own.toml"
    path.write_bytes(TEXT.encode(encoding))
    assert read_toml(path) == {"name": "Schräge 螺栓"}


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        ('a = 1\nname = "Schräge"'.encode("latin-1"), "line 2"),
        (TEXT.encode("utf-16-le"), "UTF-16"),
        (b"\xff\xfeabc", "UTF-16"),
    ],
)
def test_another_encoding_is_named(tmp_path, content, fact):
    path = tmp_path / "own.toml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"UTF-8|UTF-16") as error:
        read_toml(path)
    assert fact in str(error.value)
    assert str(path) in str(error.value)


def test_a_key_of_very_many_parts_is_refused_before_it_takes_minutes(tmp_path):
    (tmp_path / "a.toml").write_text("a" + ".a" * 500_000 + " = 1")
    began = time.process_time()
    with pytest.raises(UserError, match="over 2,000 dots"):
        read_toml(tmp_path / "a.toml")
    assert time.process_time() - began < 2
