"""Settings chosen on held-out images: the page's figures, and what the rules give."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
TASKS = {"detection": "mAP", "segmentation": "mIoU"}
RATE = "optim_wrapper.optimizer.lr"
DECAY = "optim_wrapper.paramwise_cfg.layer_decay"
CHOICES = {  # folder of the records: first words of its table, setting, protocol, first choice
    "layer-decay": ("layer decay", DECAY, "modern-quick", 0.9),
    "lr-modern-quick": ("learning rate of `modern-quick`", RATE, "modern-quick", 2e-4),
    "lr-frozen": ("learning rate of `frozen`", RATE, "frozen", 1e-3),
}


def recorded(folder, task, setting):
    found = {}
    for path in (ROOT / "results" / "choices" / folder / "records").glob("*.json"):
        record = json.loads(path.read_text())
        if record["cell"]["task"] == task:
            assert record["cell"]["data"] == "voc2012-animals-heldout"
            found[dict(record["cell"]["overrides"])[setting]] = record["headline"]["value"]
    return dict(sorted(found.items()))


def table_of_page(head):
    lines = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8").splitlines()
    (start,) = (
        at
        for at, line in enumerate(lines[:-1])
        if line.startswith(f"| {head} |") and lines[at + 1].startswith("|---")
    )
    table = lines[start : start + 4]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


@pytest.mark.parametrize("folder", CHOICES)
def test_the_table_of_the_page_has_the_recorded_figures(folder):
    head, setting, *_ = CHOICES[folder]
    (_, *values), _, *rows = table_of_page(head)
    assert [row[0] for row in rows] == [f"{task}, {metric}" for task, metric in TASKS.items()]
    for task, row in zip(TASKS, rows, strict=True):
        found = recorded(folder, task, setting)
        assert [float(value) for value in values] == list(found)
        assert row[1:] == [f"{value:.2f}" for value in found.values()]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("folder", [folder for folder in CHOICES if folder.startswith("lr")])
def test_a_protocol_has_the_learning_rate_that_the_rule_gives(folder, task):
    _, setting, protocol, first = CHOICES[folder]
    found = recorded(folder, task, setting)
    best = max(found, key=found.__getitem__)
    chosen = best if found[best] > found[first] + 1 else first
    config = Config.fromfile(ROOT / "configs" / "_base_" / task / f"{protocol}.py")
    assert config.optim_wrapper.optimizer.lr == chosen


def test_no_layer_decay_is_better_by_a_point_in_both_tasks():
    _, setting, protocol, first = CHOICES["layer-decay"]
    by_task = [recorded("layer-decay", task, setting) for task in TASKS]
    for value in by_task[0]:
        assert not all(found[value] > found[first] + 1 for found in by_task)
    for task in TASKS:
        config = Config.fromfile(ROOT / "configs" / "_base_" / task / f"{protocol}.py")
        assert config.optim_wrapper.paramwise_cfg.layer_decay == first
