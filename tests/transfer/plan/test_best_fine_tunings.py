import re
from pathlib import Path

from tests.support import synthetic
from transfer.plan.best_fine_tunings import advice
from transfer.records import records

RESULTS = Path(__file__).resolve().parents[3] / "results"


def test_the_advice_follows_from_the_recorded_spreads_and_hours():
    found, _ = records.read_all(RESULTS, "voc2012-animals")
    cells = [
        synthetic.cell("resnet18_baseline", task, data="voc2012-animals", protocol="quick")
        for task in ("detection", "segmentation")
    ]
    detection, segmentation = advice(cells, found, "resnet18_baseline")
    between, within, ratio, best = map(float, re.findall(r"\d+(?:\.\d+)?(?= |,|\b)", detection))
    assert best == max(1, round((ratio * within**2 / between**2) ** 0.5))
    assert "nothing measurable" in segmentation


def test_no_advice_without_classifiers_that_were_fine_tuned_twice(tmp_path):
    synthetic.write_suite(tmp_path, ["resnet50_baseline"], seeds=range(3))
    found, _ = records.read_all(tmp_path, "voc0712")
    assert advice([synthetic.cell("resnet50_baseline")], found, "resnet50_baseline") == []
