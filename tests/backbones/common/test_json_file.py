"""JSON of strangers: plain values or a sentence."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backbones.common.json_file import MAX_DEPTH, parse_json, read_json
from backbones.common.regular_file import UnfitFile

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    max_leaves=20,
)


@given(PLAIN)
def test_what_can_be_written_is_read_as_it_was(value):
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        '{"a": [Infinity]}',
        "[1e400]",
        "[-1e400]",
        "1" + "0" * 400,
        "9" * 5000,
        '"\\ud800"',
        '{"\\udfff": 1}',
        "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2),
        "[" * 100_000,
        "",
        "\ufeff{}",
    ],
)
def test_what_breaks_readers_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


@pytest.mark.parametrize("digits", [20, 4300, 4301, 100_000])
def test_a_long_integer_is_refused_in_our_words(digits):
    with pytest.raises(ValueError, match="an integer of more than 64 bits") as error:
        parse_json(f'{{"a": [{"9" * digits}]}}')
    assert "sys." not in str(error.value)


def test_the_sentence_names_the_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"value": 1e999}')
    with pytest.raises(UnfitFile, match=f"'{path}' is not valid JSON .*number inf"):
        read_json(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding_and_nothing_else(tmp_path, encoding):
    (tmp_path / "a.json").write_text('{"a": "螺栓"}', encoding)
    assert read_json(tmp_path / "a.json") == {"a": "螺栓"}
