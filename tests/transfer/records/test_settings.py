"""What titles say of a protocol's changed config."""

import json
from pathlib import Path

import pytest

from transfer.records import records, settings
from transfer.records.comparable import Setting

RESULTS = Path(__file__).resolve().parents[3] / "results"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], []),
        ([("epochs", 8)], ["8 epochs"]),
        ([("epochs", 1), ("a.b", 2)], ["1 epoch", "a.b = 2"]),
        ([("a.b", 2), ("train_cfg.max_iters", 100)], ["100 iterations", "a.b = 2"]),
        (
            [
                ("param_scheduler.1.T_max", 3),
                ("param_scheduler.1.end", 4),
                ("train_cfg.max_epochs", 4),
            ],
            ["4 epochs"],
        ),
        (
            [("param_scheduler.1.end", 8), ("train_cfg.max_epochs", 4)],
            ["4 epochs", "param_scheduler.1.end = 8"],
        ),
        ([("param_scheduler.1.end", 4)], ["param_scheduler.1.end = 4"]),
    ],
)
def test_titles_say_the_length_in_words(overrides, words):
    assert settings.in_title(overrides) == words
    left_out = settings.unsaid(overrides)
    assert bool(left_out) == (len(words) < len(overrides))
    assert all(f"{name} = {value}" in left_out for name, value in overrides if left_out)


def test_the_published_tables_say_epochs():
    found, bad = records.read_all(RESULTS, "")
    assert not bad
    assert {Setting.of(record).title for record in found} == {
        "Detection on voc2012-animals, protocol quick, bfloat16, 4 epochs",
        "Segmentation on voc2012-animals, protocol quick, bfloat16, 3 epochs",
    }
    assert all("epochs" not in json.dumps(record.cell["overrides"][0]) for record in found)
