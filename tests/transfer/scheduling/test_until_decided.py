import dataclasses
import json
import os
import re
import shutil
import signal

import numpy as np
import pytest

from backbones.common.errors import UserError
from tests.support import synthetic
from transfer.cli.main import main
from transfer.records import look_log, records
from transfer.records.merge import merge
from transfer.report import remarks
from transfer.report.collection import collect
from transfer.report.gains import gain_tables, keep_look, looks_path, observation
from transfer.report.verdicts import verdict
from transfer.scheduling.asked_runs import keep_asked
from transfer.scheduling.looks_cost import cost_of_looks
from transfer.scheduling.schedule import record_path
from transfer.scheduling.until_decided import UntilDecided, parse_looks
from transfer.stats.looks import unplanned_level
from transfer.stats.statistics import analyse

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


def interrupt():
    raise KeyboardInterrupt


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


class Runs:
    """Stands for fine-tunings; writes records, and may end the process during the next one."""

    def __init__(self, die_after=10**9, die=interrupt):
        self.done = []
        self.die_after = die_after
        self.die = die

    def __call__(self, chosen):
        for task in chosen:
            if record_path(task).exists():
                continue
            if len(self.done) == self.die_after:
                self.die()
            of = task.cell
            noise = np.random.default_rng([of.seed, ROWS.index(of.backbone)]).normal(0, 0.4)
            value = 70 + of.seed + GAINS.get(of.backbone, 0.0) + noise
            synthetic.write(task.results, of, float(value), points=2, baseline=ROWS[0])
            self.done.append((of.backbone, of.seed))
        return False


def suite(results, looks=(3, 5, 8), margin=None):
    return UntilDecided(tasks(results, looks), ROWS[0], looks, margin)


def run_plainly(results, seeds, rows=ROWS, until=None, margin=None):
    """Runs of a suite without a plan; ``until`` of the seeds are finished."""
    keep_asked(tasks(results, (seeds,), rows), ROWS[0], margin)
    synthetic.write_suite(results, rows, seeds=range(until or seeds))


def read(results):
    return records.read_all(results, "voc0712")[0]


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


def test_a_process_that_is_killed_leaves_the_looks_intact(tmp_path):
    """Killed in a run, and after a look was written, before the next run: 9 runs are a look."""
    whole, apart = tmp_path / "whole", tmp_path / "apart"
    suite(whole).run(Runs())
    for die_after, looks in ((0, 0), (4, 0), (5, 1), (0, 1), (3, 1), (1, 2)):
        child = os.fork()
        if not child:
            suite(apart).run(Runs(die_after, kill))
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert len(logs(apart)[0]["looks"]) == looks
    suite(apart).run(Runs())
    assert logs(apart) == logs(whole)


@pytest.mark.parametrize(("looks", "margin"), [((3, 6), None), ((3, 5, 8), 0.5), ((3, 5), None)])
def test_another_plan_is_refused_once_runs_have_started(tmp_path, looks, margin):
    with pytest.raises(KeyboardInterrupt):
        suite(tmp_path).run(Runs(1))
    with pytest.raises(UserError, match="3,5,8"):
        suite(tmp_path, looks, margin)


def test_a_table_that_was_looked_at_without_a_plan_gets_none(tmp_path):
    run_plainly(tmp_path, 3)
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
    assert "1 of 2 rows with no gain beyond ±6" in verdict(*collect(tmp_path).gains)
    assert len(log["looks"]) == 1


def test_runs_added_after_an_unplanned_look_widen_the_interval(tmp_path):
    run_plainly(tmp_path, 3)
    (first,) = gain_tables(read(tmp_path), ROWS[0])
    keep_look(first)
    (again,) = gain_tables(read(tmp_path), ROWS[0])
    assert again.analysis == first.analysis
    run_plainly(tmp_path, 6)
    (added,) = gain_tables(read(tmp_path), ROWS[0])
    assert "look 2" in added.analysis.notes[0]
    for path in (tmp_path / look_log.FOLDER).iterdir():
        path.unlink()
    (fresh,) = gain_tables(read(tmp_path), ROWS[0])
    for wide, narrow in zip(added.analysis.rows[1:], fresh.analysis.rows[1:], strict=True):
        assert wide.gain_low < narrow.gain_low
        assert wide.gain_high > narrow.gain_high


@pytest.mark.parametrize("command", ["table", pytest.param("report", marks=pytest.mark.slow)])
def test_every_command_that_prints_a_verdict_keeps_the_look_once(tmp_path, command, capsys):
    run_plainly(tmp_path, 3)
    for _ in range(2):
        assert main([command, "--results", str(tmp_path)]) == 0
    (log,) = logs(tmp_path)
    assert [look["units"] for look in log["looks"]] == [dict.fromkeys(ROWS, 3)]


def test_a_suite_that_is_not_finished_is_provisional_and_no_look_counts(tmp_path):
    run_plainly(tmp_path, 5, until=3)
    (table,) = collect(tmp_path).gains
    keep_look(table)
    assert logs(tmp_path)[0]["looks"] == []
    assert "6 runs" in next(line for line in remarks.remarks(table) if "Provisional" in line)
    run_plainly(tmp_path, 5)
    (table,) = collect(tmp_path).gains
    assert "Provisional" not in " ".join(remarks.remarks(table))
    assert "look 2" not in " ".join(table.analysis.notes)


def test_published_results_are_only_read(tmp_path):
    synthetic.write_suite(tmp_path, ROWS, seeds=range(3))
    (table,) = collect(tmp_path).gains
    keep_look(table)
    assert not (tmp_path / look_log.FOLDER).exists()


def test_a_row_that_joins_later_is_no_further_look_at_the_others(tmp_path):
    run_plainly(tmp_path, 3, ROWS[:2])
    keep_look(*gain_tables(read(tmp_path), ROWS[0]))
    run_plainly(tmp_path, 3)
    (table,) = gain_tables(read(tmp_path), ROWS[0])
    assert "look 2" not in " ".join(table.analysis.notes)
    keep_look(table)
    (log,) = logs(tmp_path)
    assert [look["units"] for look in log["looks"]] == [dict.fromkeys(ROWS, 3)]


def test_a_table_of_some_rows_lacks_nothing_of_the_others(tmp_path):
    run_plainly(tmp_path, 3, ROWS[:2])
    keep_asked(tasks(tmp_path, (3,)), ROWS[0], None)
    (table,) = gain_tables(read(tmp_path), ROWS[0], ROWS[:2])
    assert table.unfinished == {}
    (table,) = gain_tables(read(tmp_path), ROWS[0])
    assert table.unfinished == {ROWS[2]: 3}


def test_a_look_beyond_the_plan_judges_undecided_rows_more_strictly(tmp_path):
    suite(tmp_path).run(Runs())
    (planned,) = collect(tmp_path).gains
    before = {row.name: row.statistics for row in planned.rows}
    chosen = [task for task in tasks(tmp_path, (12,)) if task.cell.backbone != "resnet50d_mixup"]
    keep_asked(chosen, ROWS[0], None)
    Runs()(chosen)
    (table,) = collect(tmp_path).gains
    after = {row.name: row.statistics for row in table.rows}
    decided, other = "resnet50d_mixup", "resnet50d_smooth"
    assert before[decided].gain_low == after[decided].gain_low
    plain = analyse(
        [observation(r, r.value) for r in read(tmp_path) if r.cell["backbone"] != decided],
        ROWS[0],
        level=unplanned_level(2),
    )
    assert after[other].gain_high == pytest.approx(plain.rows[1].gain_high)
    assert "look 1 beyond" in " ".join(table.analysis.notes)
    keep_look(table)
    keep_look(table)
    (log,) = logs(tmp_path)
    assert log["looks"][3]["units"] == {ROWS[0]: 12, other: 12}
    assert len(log["looks"]) == 4
    Runs()([task for task in tasks(tmp_path, (14,)) if task.cell.backbone != decided])
    (table,) = collect(tmp_path).gains
    assert "look 2 beyond" in " ".join(table.analysis.notes)
    assert suite(tmp_path).next_tasks() == []


def test_a_margin_is_fixed_before_the_first_look(tmp_path):
    run_plainly(tmp_path, 3, margin=1.0)
    run_plainly(tmp_path, 3, margin=0.5)
    keep_look(*gain_tables(read(tmp_path), ROWS[0]))
    assert logs(tmp_path)[0]["margin"] == 0.5
    for other in (None, 1.0):
        with pytest.raises(UserError, match=r"0\.5"):
            run_plainly(tmp_path, 3, margin=other)


def test_a_plan_keeps_its_margin(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        suite(tmp_path, margin=0.5).run(Runs(1))
    with pytest.raises(UserError, match=r"0\.5"):
        keep_asked(tasks(tmp_path), ROWS[0], None)


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
        path = looks_path(table.rows[0].records, ROWS[0])
        look_log.write(path, look_log.LookLog(baseline=ROWS[0]))
        keep_look(table)
    path = looks_path(before[0].rows[0].records, ROWS[0])
    damage(path)
    damaged, whole = collect(tmp_path).gains
    assert whole.analysis == before[1].analysis
    assert {row.statistics.verdict for row in damaged.rows} == {None}
    assert damaged.rows[1].statistics.gain == before[0].rows[1].statistics.gain
    assert damaged.rows[1].statistics.gain_low is None
    keep_look(damaged)
    page = tmp_path / "page.html"
    assert main(["table", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(path.name) >= 1
    assert main(["report", "--results", str(tmp_path), "--out", str(page)]) == 0
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


@pytest.mark.parametrize("text", ["", "3,3", "5,3", "1,2", "a", "3;5", "3,1000000"])
def test_looks_are_increasing_numbers(text):
    with pytest.raises(UserError, match="--looks"):
        parse_looks(text)
    assert parse_looks("3, 5,8") == (3, 5, 8)


def test_the_cost_is_given_on_average_and_at_most(tmp_path):
    cells = [task.cell for task in tasks(tmp_path)]
    (line,) = cost_of_looks(cells, ROWS[0], (3, 5, 8))
    assert "at most 24 runs" in line


def test_a_margin_that_is_large_for_the_spread_ends_rows_at_the_first_look(tmp_path):
    cells = [task.cell for task in tasks(tmp_path)]
    (line,) = cost_of_looks(cells, ROWS[0], (3, 5, 8), margin=2.0)
    found = re.search(r"(\d+) if no row gains,.*gains, (\d+), (\d+) and (\d+) for", line)
    without, few, more, most = map(int, found.groups())
    assert 3 * len(ROWS) <= few < more <= most <= without <= 24
    assert few < without
    assert "for standard deviations of 0.5, 1 and 2 points" in line


def test_controls_count_in_no_family_of_the_cost(tmp_path):
    """As at the looks: the critical values are those of the other rows."""
    cells = [task.cell for task in tasks(tmp_path)]
    (alone,) = cost_of_looks(cells, ROWS[0], (3, 5))
    changes = {"backbone": "resnet18_shuffled", "weights": "shuffled:x", "weights_id": "x"}
    more = [dataclasses.replace(c, **changes) for c in cells if c.backbone == ROWS[1]]
    (line,) = cost_of_looks([*cells, *more], ROWS[0], (3, 5))
    assert line.partition("Critical")[2] == alone.partition("Critical")[2]
    assert "at most 20 runs" in line
    assert "without the controls" in line


@pytest.mark.parametrize(
    ("rows", "baseline"), [(ROWS[:1], ROWS[0]), (ROWS[1:2], ROWS[0]), (ROWS, "")]
)
def test_a_dry_run_refuses_a_suite_without_gains_as_the_run_does(rows, baseline, tmp_path):
    fitting = [task for task in tasks(tmp_path) if task.cell.backbone in rows]
    with pytest.raises(UserError, match="baseline"):
        cost_of_looks([task.cell for task in fitting], baseline, (3, 5))
    with pytest.raises(UserError, match="baseline"):
        UntilDecided(fitting, baseline, (3, 5), None)


def looked_at(results, seeds):
    """Results of a suite that somebody looked at."""
    run_plainly(results, seeds)
    keep_look(*gain_tables(read(results), ROWS[0]))


def test_merged_results_remember_the_looks_of_all_folders(tmp_path):
    one, other, whole = (tmp_path / name for name in ("one", "other", "whole"))
    looked_at(one, 3)
    looked_at(other, 4)
    merge([one, other], whole)
    merge([one, other], whole)
    (log,) = logs(whole)
    assert [look["units"][ROWS[0]] for look in log["looks"]] == [3, 4]
    assert log["asked"] == dict.fromkeys(ROWS, 4)
    run_plainly(whole, 5)
    (table,) = gain_tables(read(whole), ROWS[0])
    assert "This is look 3" in " ".join(table.analysis.notes)


def test_merged_planned_looks_are_those_of_the_longer_log(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    suite(one).run(Runs())
    shutil.copytree(one, other)
    (path,) = (other / look_log.FOLDER).iterdir()
    log = json.loads(path.read_text())
    path.write_text(json.dumps({**log, "looks": log["looks"][:1]}))
    merge([one], other)
    assert logs(other) == logs(one)


@pytest.mark.parametrize("change", [{"plan": [4, 6]}, {"plan": []}, {"margin": 2.0}])
def test_looks_that_do_not_fit_together_are_not_merged(tmp_path, change):
    one, other, whole = (tmp_path / name for name in ("one", "other", "whole"))
    suite(one).run(Runs())
    shutil.copytree(one, other)
    (path,) = (other / look_log.FOLDER).iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=path.name):
        merge([one, other], whole)
    assert not list(whole.rglob("*.json"))
