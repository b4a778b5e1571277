"""The mean number of runs side by side, over time."""

import time

import pytest

from transfer.records.shared_card import Company


def test_the_number_of_runs_is_averaged_over_their_time(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    company = Company()
    assert company.mean() == 1
    now += 10
    company.share(4)
    now += 30
    assert company.mean() == pytest.approx((10 * 1 + 30 * 4) / 40)
    company.share(2)
    now += 40
    assert company.mean() == pytest.approx((10 + 120 + 80) / 80)
    company.begin()
    now += 5
    assert company.mean() == 1, "of the next run"
