"""Several data sets: tables, pictures and sentences."""

import numpy as np
import pytest

from tests.support import synthetic
from transfer.cli.main import main
from transfer.report.across_data import across_data, across_tables
from transfer.report.collection import collect
from transfer.report.own_tables import own_tables
from transfer.report.paper_tables import paper_table
from transfer.report.pictures.gallery import ranks_picture

ROWS = ("resnet50_baseline", "resnet50d_mixup", "resnet50d_smooth", "resnet50_scratch")
GAINS = dict(zip(ROWS, (0.0, 3.0, 0.2, -20.0), strict=True))


def results(folder, sets, rows=ROWS, seeds=3, lacking=(), **changed):
    """Runs on several data sets, whose gains differ a little between them."""
    for number in range(sets):
        rng = np.random.default_rng(number)
        for row in rows:
            if (number, row) in lacking:
                continue
            level = 60 + 3 * number + GAINS[row] + rng.normal(0, 0.3) * (row != ROWS[0])
            for seed in range(seeds):
                of = synthetic.cell(
                    row, seed=seed, data=f"set{number}", data_fingerprint=f"{number:08x}", **changed
                )
                value = float(level + rng.normal(0, 0.2))
                synthetic.write(folder, of, value, points=2, baseline=ROWS[0])
    return folder


def sentences(folder):
    return [line for table in collect(folder).gains for line in table.analysis.notes]


def test_five_data_sets_have_one_table_of_ranks_and_gains(tmp_path):
    (found,) = across_data(collect(results(tmp_path, 5)).gains)
    assert set(found.rows) == set(ROWS[:3])  # no control
    place = found.rows.index("resnet50d_mixup")
    assert found.ranks.mean[place] == 1
    assert found.gains[place - 1].low > 0
    (shown,) = across_tables(collect(tmp_path).gains)
    line = next(row for row in shown.rows if row[0] == "resnet50d_mixup")
    assert line[5] == "gain"
    assert "5 data sets" in shown.title
    assert [line for line in sentences(tmp_path) if "Nothing is combined" in line] == []


@pytest.mark.parametrize(("sets", "notes"), [(1, 0), (2, 1), (4, 1), (5, 0)])
def test_fewer_than_five_data_sets_say_once_why_nothing_is_combined(tmp_path, sets, notes):
    results(tmp_path, sets)
    found = [line for line in sentences(tmp_path) if "Nothing is combined" in line]
    assert len(found) == notes
    assert (across_data(collect(tmp_path).gains) == []) == (sets < 5)


def test_each_task_has_its_own_family(tmp_path):
    results(tmp_path, 5)
    results(tmp_path, 5, task="segmentation")
    found = across_data(collect(tmp_path).gains)
    assert [one.tables[0].setting.task for one in found] == ["detection", "segmentation"]
    assert len({one.name for one in found}) == 2


def test_a_row_that_a_data_set_lacks_has_no_rank(tmp_path):
    results(tmp_path, 5, lacking=[(2, "resnet50d_smooth")])
    (found,) = across_data(collect(tmp_path).gains)
    assert set(found.rows) == {"resnet50_baseline", "resnet50d_mixup"}
    assert found.left_out == ("resnet50d_smooth",)


def test_one_run_of_each_row_is_enough_since_data_sets_are_the_sample(tmp_path):
    (found,) = across_data(collect(results(tmp_path, 6, seeds=1)).gains)
    assert all(np.isfinite([one.low, one.high]).all() for one in found.gains)


def test_a_data_set_of_two_versions_counts_once(tmp_path):
    results(tmp_path, 4)
    of = synthetic.cell(ROWS[0], data="set0", data_fingerprint="ffffffff")
    synthetic.write(tmp_path, of, 50.0, points=2, baseline=ROWS[0])
    assert across_data(collect(tmp_path).gains) == []


NAME = "detection-openmmlab-over-data-sets"


def test_tables_of_results_and_of_the_paper_show_it(tmp_path):
    found = collect(results(tmp_path, 5, ROWS[:2]))
    for shown in (own_tables(found), paper_table(8, found)):
        assert [table.name for table in shown].count(NAME) == 1
    assert NAME not in [table.name for table in paper_table(9, found)]


@pytest.mark.slow
def test_every_command_shows_it(tmp_path, capsys):
    results(tmp_path, 5, ROWS[:2])
    for arguments in (["table"], ["table", "8"], ["table", "all"]):
        assert main([*arguments, "--results", str(tmp_path)]) == 0
        assert capsys.readouterr().out.count("Detection on 5 data sets") == 1
    assert main(["table", "all", "--write", "--results", str(tmp_path)]) == 0
    assert "Detection on 5 data sets" in (tmp_path / "README.md").read_text()
    assert main(["report", "--results", str(tmp_path)]) == 0
    assert f'id="{NAME}"' in (tmp_path / "report.html").read_text()
    assert (tmp_path / "pictures" / f"{NAME}-ranks.svg").exists()


def test_the_picture_has_every_row_and_the_critical_difference(tmp_path):
    (found,) = across_data(collect(results(tmp_path, 6)).gains)
    picture = ranks_picture(found)
    assert all(row in picture.svg.decode() for row in found.rows)
    assert f"{found.ranks.critical:.2f}" in picture.caption
    (few,) = across_data(collect(results(tmp_path / "few", 5, ROWS[:2])).gains)
    assert few.ranks.critical is None
    assert "no critical difference" in ranks_picture(few).caption
