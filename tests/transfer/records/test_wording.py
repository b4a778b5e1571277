"""Figures as tables print them."""

import pytest

from transfer.records.wording import signed


@pytest.mark.parametrize(
    ("value", "printed"),
    [(None, "–"), (-0.004, "+0.00"), (0.0, "+0.00"), (-0.006, "-0.01"), (3.559, "+3.56")],
)
def test_a_gain_has_its_sign_unless_it_rounds_to_zero(value, printed):
    assert signed(value) == printed
