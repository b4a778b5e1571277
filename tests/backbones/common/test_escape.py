"""Names of strangers are text in every format: checked with other programs' parsers."""

import csv
import html
import io
import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from backbones.common import escape

NAMES = st.text() | st.text(string.punctuation + "ab1 \x1b\t\n", max_size=12)
FORMATS = (escape.markdown, escape.csv, escape.latex, escape.html)


@given(NAMES)
def test_no_format_lets_a_control_character_through(name):
    for shown in (*FORMATS, escape.terminal, escape.one_line):
        text = shown(name)
        text.encode()
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


@given(NAMES)
@example("__0__")
@example("a__b_ _c_ *_d_*")
def test_markdown_shows_the_name_and_nothing_else(name):
    parser = MarkdownIt("gfm-like", {"linkify": False})
    wanted = escape.one_line(name).strip()
    shown = parser.render(f"- {escape.markdown(name)}\n")
    assert set(re.findall(r"</?(\w+)", shown)) <= {"ul", "li"}
    text = html.unescape(re.sub(r"<[^>]*>", "", shown))
    assert text.split() == wanted.split()


@given(NAMES)
def test_a_cell_of_a_markdown_table_stays_one_cell(name):
    parser = MarkdownIt("gfm-like", {"linkify": False})
    shown = parser.render(f"| a | b |\n|---|---|\n| x {escape.markdown(name)} | c |\n")
    assert shown.count("<td") == 2


@pytest.mark.parametrize(
    "name",
    [
        "[x](http://a.b)",
        "![x](http://a.b)",
        "<http://a.b>",
        "<img src=x>",
        "[a]: http://a.b",
        "`x`",
    ],
)
def test_markdown_makes_no_link_picture_or_code_of_a_name(name):
    shown = MarkdownIt("gfm-like", {"linkify": False}).render(f"{escape.markdown(name)}\n\n[a]\n")
    assert not re.search("<(a|img|code)", shown)


@pytest.mark.parametrize("name", ["https://a.b", "www.a.b", "a@b.org"])
def test_markdown_leaves_nothing_that_github_makes_a_link_of(name):
    text = escape.markdown(name)
    assert not re.search(r"\w://|www\.|\w@\w", text)


@pytest.mark.parametrize("name", ["resnet50_v1d", "95 % interval", "+1.25", "– [a]", "-0.5 … +1"])
def test_what_is_harmless_stays_as_it_is_in_markdown(name):
    assert escape.markdown(name) == name


@pytest.mark.parametrize(
    "name",
    ["=1+1", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "=HYPERLINK(1)"],
)
def test_a_spreadsheet_computes_no_field(name):
    text = io.StringIO()
    csv.writer(text).writerow([escape.csv(name)])
    ((field,),) = csv.reader(io.StringIO(text.getvalue()))
    assert field.lstrip()[0] == "'"


@pytest.mark.parametrize("cell", ["+1.25", "-3", "-0.50 … +1.20", "-1.2 … below 0", "1e-5", "–"])
def test_numbers_and_intervals_stay_numbers_in_csv(cell):
    assert escape.csv(cell) == cell


@given(NAMES)
def test_latex_has_no_sign_that_does_something(name):
    text = escape.latex(name)
    written = r"\\(text\w+|dots|char34)\{\}|\\[&%$#_{}]|\$\\?(-|pm|times)\$|\{[\[*]?\}"
    rest = re.sub(written, "", text)
    assert not re.search(r"[\\&%$#_{}~^]", rest)
    assert not text.startswith(("[", "*"))
    assert "--" not in text or "–" in name


def test_the_reason_of_a_sentence_is_one_short_line():
    assert escape.brief("a\x1b\nb") == "a\\x1b"
    assert len(escape.brief("a" * 1000)) == 100
    assert escape.brief("") == "str"
