import dataclasses
import json
import os

import numpy as np
import pytest

from backbones.common.errors import UserError
from tests.support import synthetic
from transfer.cli import main
from transfer.records import look_log, records
from transfer.report import remarks
from transfer.report.collection import collect
from transfer.report.gains import fix_margin, gain_tables, keep_look, looks_path
from transfer.scheduling.looks_cost import cost_of_looks
from transfer.scheduling.schedule import record_path
from transfer.scheduling.until_decided import UntilDecided, parse_looks

ROWS = ("resnet50_baseline", "resnet50d_mixup", "resnet50d_smooth")
GAINS = {"resnet50d_mixup": 4.0}


@dataclasses.dataclass
class FakeTask:
    """What the looks need of a task: its cell, and the place of its record."""

    cell: object
    results: object


def tasks(results, looks=(3, 5, 8), rows=ROWS):
    cells = [synthetic.cell(row, seed=seed) for seed in range(looks[-1]) for row in rows]
    return [FakeTask(cell, results) for cell in cells]


class Runs:
    """Stands for fine-tunings; writes records, and may be killed after some."""

    def __init__(self, die_after=10**9):
        self.done = []
        self.die_after = die_after

    def __call__(self, chosen):
        for task in chosen:
            if record_path(task).exists():
                continue
            if len(self.done) == self.die_after:
                raise KeyboardInterrupt
            of = task.cell
            noise = np.random.default_rng([of.seed, ROWS.index(of.backbone)]).normal(0, 0.4)
            value = 70 + of.seed + GAINS.get(of.backbone, 0.0) + noise
            synthetic.write(task.results, of, float(value), points=2, baseline=ROWS[0])
            self.done.append((of.backbone, of.seed))
        return False


def suite(results, looks=(3, 5, 8), margin=None):
    return UntilDecided(tasks(results, looks), ROWS[0], looks, margin)


def logs(results):
    return [json.loads(path.read_text()) for path in (results / look_log.FOLDER).glob("*.json")]


def test_a_decided_row_stops_and_the_others_continue_with_the_baseline(tmp_path):
    runs = Runs()
    assert suite(tmp_path).run(runs) is False
    counts = {row: sum(name == row for name, _ in runs.done) for row in ROWS}
    assert counts == {"resnet50_baseline": 8, "resnet50d_mixup": 3, "resnet50d_smooth": 8}
    (log,) = logs(tmp_path)
    assert [look["units"].get("resnet50d_mixup") for look in log["looks"]] == [3, None, None]
    assert log["looks"][0]["verdicts"]["resnet50d_mixup"] == "gain"
    (table,) = collect(tmp_path).gains
    found = {row.name: row.statistics for row in table.rows}
    assert found["resnet50d_mixup"].verdict == "gain"
    assert found["resnet50d_smooth"].verdict == "inconclusive"
    assert found["resnet50d_mixup"].gain_low > 0
    assert "Looks were planned at 3, 5, 8 units" in " ".join(remarks.remarks(table))


def test_a_killed_suite_resumes_with_the_same_looks(tmp_path):
    whole, apart = tmp_path / "whole", tmp_path / "apart"
    suite(whole).run(Runs())
    killed = 0
    for die_after in (4, 7, 3, 2, 1, 50):
        try:
            suite(apart).run(Runs(die_after))
        except KeyboardInterrupt:
            killed += 1
    assert killed >= 4
    assert logs(apart) == logs(whole)


@pytest.mark.parametrize(("looks", "margin"), [((3, 6), None), ((3, 5, 8), 0.5), ((3, 5), None)])
def test_another_plan_is_refused_once_runs_have_started(tmp_path, looks, margin):
    with pytest.raises(KeyboardInterrupt):
        suite(tmp_path).run(Runs(1))
    with pytest.raises(UserError, match="3,5,8"):
        suite(tmp_path, looks, margin)


def test_a_table_that_was_looked_at_without_a_plan_gets_none(tmp_path):
    synthetic.write_suite(tmp_path, ROWS, seeds=range(3))
    (table,) = gain_tables(records.read_all(tmp_path, "voc0712")[0], ROWS[0])
    keep_look(table)
    with pytest.raises(UserError, match="without a plan"):
        suite(tmp_path)


def test_no_look_is_taken_while_a_run_is_missing(tmp_path):
    runs = Runs()
    assert suite(tmp_path).run(lambda chosen: runs(chosen[:-1]) or True)
    assert [log["looks"] for log in logs(tmp_path)] == [[]]
    (table,) = collect(tmp_path).gains
    assert {row.statistics.verdict for row in table.rows} == {None}
    assert "first look is planned at 3" in table.analysis.reason


def test_a_margin_ends_rows_without_a_gain_that_matters(tmp_path):
    suite(tmp_path, margin=6.0).run(Runs())
    (log,) = logs(tmp_path)
    assert log["looks"][-1]["verdicts"]["resnet50d_smooth"] == "no gain beyond ±6"
    assert len(log["looks"]) == 1


def test_runs_added_after_an_unplanned_look_widen_the_interval(tmp_path):
    read = lambda: records.read_all(tmp_path, "voc0712")[0]  # noqa: E731
    synthetic.write_suite(tmp_path, ROWS, seeds=range(3))
    (first,) = gain_tables(read(), ROWS[0])
    keep_look(first)
    (again,) = gain_tables(read(), ROWS[0])
    assert again.analysis == first.analysis
    synthetic.write_suite(tmp_path, ROWS, seeds=range(6))
    (added,) = gain_tables(read(), ROWS[0])
    assert "look 2" in added.analysis.notes[0]
    for path in (tmp_path / look_log.FOLDER).iterdir():
        path.unlink()
    (fresh,) = gain_tables(read(), ROWS[0])
    for wide, narrow in zip(added.analysis.rows[1:], fresh.analysis.rows[1:], strict=True):
        assert wide.gain_low < narrow.gain_low
        assert wide.gain_high > narrow.gain_high


def test_a_margin_is_fixed_before_the_first_look(tmp_path):
    path = tmp_path / "looks" / "a.json"
    fix_margin(path, "b", 0.5)
    fix_margin(path, "b", 0.5)
    log = look_log.read(path, "b")
    assert log.margin == 0.5
    look_log.write(path, log.after(look_log.Look(units={"b": 2}, verdicts={})))
    for other in (None, 1.0):
        with pytest.raises(UserError, match=r"0\.5"):
            fix_margin(path, "b", other)


def log_of(**changes):
    """The content of a file of looks: one of two planned ones was taken."""
    look = {"units": {"b": 3, "a": 3}, "verdicts": {"a": "gain"}}
    return {"baseline": "b", "plan": [3, 5], "margin": None, "looks": [look], **changes}


LOOK = log_of()["looks"][0]
DAMAGED = {
    "empty": "",
    "a list": "[]",
    "cut off": "{",
    "looks that are a number": json.dumps(log_of(looks=3)),
    "no plan": json.dumps({"baseline": "b", "margin": None, "looks": []}),
    "a plan of text": json.dumps(log_of(plan=["3"])),
    "a plan of one unit": json.dumps(log_of(plan=[1])),
    "a plan that falls": json.dumps(log_of(plan=[5, 3])),
    "a plan of 10^18 units": json.dumps(log_of(plan=[3, 10**18])),
    "a plan of 10^400 units": json.dumps(log_of(plan=[3, 10**400])),
    "a plan of 5,000 looks": json.dumps(log_of(plan=list(range(2, 5002)))),
    "a table of 100,000 rows": json.dumps(
        log_of(looks=[{**LOOK, "verdicts": {f"r{i}": "gain" for i in range(100_000)}}])
    ),
    "more looks than planned": json.dumps(log_of(looks=[LOOK] * 3)),
    "100,000 looks": json.dumps(log_of(plan=[], looks=[LOOK] * 100_000)),
    "a look without rows": json.dumps(log_of(looks=[{**LOOK, "verdicts": {}}])),
    "a look that is text": json.dumps(log_of(looks=["gain"])),
    "units that are text": json.dumps(log_of(looks=[{**LOOK, "units": {"a": "3"}}])),
    "a verdict that is a number": json.dumps(log_of(looks=[{**LOOK, "verdicts": {"a": 1}}])),
    "a margin of text": json.dumps(log_of(margin="1")),
    "a margin that is infinite": json.dumps(log_of(margin=float("inf"))),
    "a margin below 0": json.dumps(log_of(margin=-1)),
    "another baseline": json.dumps(log_of(baseline="a")),
    "too deep": "[" * 5000,
    "half of a letter": json.dumps(log_of(looks=[{**LOOK, "verdicts": {"\ud800": "gain"}}])),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_file_of_looks_is_refused_with_its_place(what, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(log_of()))
    assert look_log.read(path, "b").plan == (3, 5)
    path.write_text(DAMAGED[what])
    with pytest.raises(look_log.DamagedLooks, match=r"a\.json"):
        look_log.read(path, "b")


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


def replace_by_pipe(path):
    path.unlink()
    os.mkfifo(path)


def write_nonsense(path):
    path.write_text('{"looks": 3}')


@pytest.mark.parametrize("damage", [replace_by_folder, replace_by_pipe, write_nonsense])
def test_only_the_table_of_a_damaged_file_of_looks_loses_its_verdicts(damage, tmp_path, capsys):
    for protocol in ("openmmlab", "quick"):
        synthetic.write_suite(tmp_path, ROWS, seeds=range(3), protocol=protocol)
    before = collect(tmp_path).gains
    for table in before:
        assert table.analysis.method
        keep_look(table)
    path = looks_path(before[0].rows[0].records, ROWS[0])
    damage(path)
    damaged, whole = collect(tmp_path).gains
    assert whole.analysis == before[1].analysis
    assert {row.statistics.verdict for row in damaged.rows} == {None}
    assert damaged.rows[1].statistics.gain == before[0].rows[1].statistics.gain
    assert damaged.rows[1].statistics.gain_low is None
    fix_margin(path, ROWS[0], None)
    keep_look(damaged)
    page = tmp_path / "page.html"
    assert main.main(["table", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(path.name) >= 1
    assert main.main(["report", "--results", str(tmp_path), "--out", str(page)]) == 0
    assert path.name in page.read_text()
    with pytest.raises(UserError, match=path.name):
        look_log.read(path, ROWS[0])


def test_looks_at_removed_records_do_not_end_a_table(tmp_path):
    suite(tmp_path).run(Runs())
    for path in (tmp_path / "records").glob("*.json"):
        if json.loads(path.read_text())["cell"]["seed"] < 7:
            path.unlink()
    (table,) = collect(tmp_path).gains
    assert {row.statistics.verdict for row in table.rows} == {None}


def test_a_plan_that_would_take_minutes_to_calibrate_is_refused(tmp_path):
    with pytest.raises(UserError, match="--looks 3,1000000"):
        UntilDecided(tasks(tmp_path), ROWS[0], (3, 1_000_000), None)
    assert not (tmp_path / look_log.FOLDER).exists()


@pytest.mark.parametrize("text", ["", "3,3", "5,3", "1,2", "a", "3;5"])
def test_looks_are_increasing_numbers(text):
    with pytest.raises(UserError, match="--looks"):
        parse_looks(text)
    assert parse_looks("3, 5,8") == (3, 5, 8)


def test_the_cost_is_given_on_average_and_at_most(tmp_path):
    cells = [task.cell for task in tasks(tmp_path)]
    (line,) = cost_of_looks(cells, ROWS[0], (3, 5, 8))
    assert "at most 24 runs" in line
