"""What titles say of a protocol's changed config."""

import json
import re
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
        ([("epochs", 1), ("a.b", 2)], ["1 epoch", "1 changed setting"]),
        ([("a.b", 2), ("train_cfg.max_iters", 100)], ["100 iterations", "1 changed setting"]),
        ([("optim_wrapper.optimizer.lr", 0.04), ("epochs", 8)], ["8 epochs", "learning rate 0.04"]),
        (
            [("without", ["KeptMemory"]), ("a", 1), ("b", 2)],
            ["without KeptMemory", "2 changed settings"],
        ),
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
            ["4 epochs", "1 changed setting"],
        ),
        ([("param_scheduler.1.end", 4)], ["1 changed setting"]),
    ],
)
def test_titles_say_the_length_in_words(overrides, words):
    assert [re.sub(r" \([0-9a-f]{4}\)$", "", one) for one in settings.in_title(overrides)] == words
    left_out = settings.unsaid(overrides)
    plain = {"epochs", "without", "optim_wrapper.optimizer.lr", *settings.LENGTHS}
    assert bool(left_out) == any(name not in plain for name, _ in overrides)
    assert all(f"{name} = {value}" in left_out for name, value in overrides if left_out)


def test_titles_contain_no_key_and_distinguish_settings():
    several = [[("a.b", value), ("c.d", 1)] for value in (1, 2)]
    words = [settings.in_title(overrides) for overrides in several]
    assert words[0] != words[1]
    assert not any("a.b" in word for one in words for word in one)
    assert settings.in_title([("epochs", 8), ("a.b", 1)], "gentle") == ["8 epochs", "gentle"]
    assert settings.in_title([], "gentle") == ["gentle"]


def test_the_published_tables_say_epochs():
    found, bad = records.read_all(RESULTS, "")
    assert not bad
    assert {Setting.of(record).title for record in found} == {
        "Detection on voc2012-animals, protocol quick, bfloat16, 4 epochs",
        "Segmentation on voc2012-animals, protocol quick, bfloat16, 3 epochs",
        "Detection on voc2012-animals, protocol quick, float32, 1 epoch",
        "Segmentation on voc2012-animals, protocol quick, float32, 1 epoch",
    }
    older = [record for record in found if record.cell["precision"] == "bfloat16"]
    assert all("epochs" not in json.dumps(record.cell["overrides"][0]) for record in older)
