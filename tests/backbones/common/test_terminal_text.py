"""Signs that a terminal does not know."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbones.common.terminal_text import LEGIBLE
from tests.support import processes


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
@given(texts=st.lists(st.text(st.characters(categories=["L", "Cs"])), unique=True))
@settings(deadline=None)
def test_names_stay_apart(encoding, texts):
    assert len({text.encode(encoding, LEGIBLE) for text in texts}) == len(texts)


def test_typographic_signs_become_plain_ones():
    assert "1.2 … −3 ±4 × 螺".encode("ascii", LEGIBLE) == b"1.2 ... -3 +-4 x \\u87ba"


def test_a_command_prints_any_name_on_any_terminal():
    program = (
        "from backbones.runtime.command import guarded;"
        "guarded(lambda _: print('螺栓 \\udce9') or 0, None)"
    )
    done = processes.alone(program, PYTHONIOENCODING="ascii", LANG="C")
    assert done.stdout == "\\u87ba\\u6813 \\udce9\n", done.stderr
    assert sys.stdout.encoding
