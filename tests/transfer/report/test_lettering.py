"""Names in any script on a picture."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFont

from transfer.report.predictions import lettering
from transfer.report.predictions.lettering import font, legible


def drawn(text):
    text = legible(text)
    mask = font(text).getmask(text)
    return mask.size, bytes(mask)


@pytest.fixture
def no_fonts(monkeypatch):
    """A system without fonts, as most containers."""
    monkeypatch.setattr(lettering, "_system", lambda: iter(()))
    for cached in (font, lettering._of_system):
        cached.cache_clear()
    yield
    for cached in (font, lettering._of_system):
        cached.cache_clear()


def test_names_of_any_script_look_different_without_fonts(no_fonts):
    names = ["螺栓", "螺母", "болт", "гайка", "\udce9", "\x1b[31m", "ab", "a\nb"]
    assert len({drawn(name) for name in names}) == len(names)
    assert legible("ab 螺") == "ab \\u87ba"
    assert legible("\x1b") == "\\x1b"


def test_a_font_of_the_system_that_has_the_signs_is_taken(monkeypatch):
    from pathlib import Path

    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    monkeypatch.setattr(
        lettering, "_system", lambda: iter([ImageFont.truetype(path, lettering.TEXT)])
    )
    for cached in (font, lettering._of_system):
        cached.cache_clear()
    assert font("болт").getname()[0] == "DejaVu Sans"
    assert legible("болт") == "болт"
    assert legible("болт螺") != "болт螺"
    assert font("bolt").getname() == font().getname()
    for cached in (font, lettering._of_system):
        cached.cache_clear()


@given(st.text(max_size=20))
@settings(deadline=None)
def test_whatever_a_name_is_it_can_be_drawn(text):
    drawn(text)
