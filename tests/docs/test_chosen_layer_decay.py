"""The figures behind the choice of layer decay are those of the recorded runs."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DECAY = "optim_wrapper.paramwise_cfg.layer_decay"


@pytest.mark.parametrize(("task", "metric"), [("detection", "mAP"), ("segmentation", "mIoU")])
def test_the_table_of_the_page_has_the_recorded_figures(task, metric):
    found = {}
    for path in (ROOT / "results" / "choices" / "layer-decay" / "records").glob("*.json"):
        record = json.loads(path.read_text())
        if record["cell"]["task"] == task:
            found[dict(record["cell"]["overrides"])[DECAY]] = record["headline"]["value"]
    text = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {task}, {metric} "))
    assert line.split("|")[2:-1] == [f" {found[value]:.2f} " for value in sorted(found)]
    assert sorted(found) == [0.7, 0.8, 0.9, 1.0]
