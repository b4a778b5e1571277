"""Parts of the page: costs, links to records, and the choice of test images."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support import synthetic
from transfer.report.collection import collect
from transfer.report.cost_table import cost_table
from transfer.report.layout import Link, Missing, table, to_csv, to_html, to_markdown
from transfer.report.predictions.on_page import BEST, CHANGED, WORST, ShownImage, pick
from transfer.report.predictions.on_page import to_html as images_to_html


def test_costs_are_medians_over_the_runs_of_a_row(tmp_path):
    synthetic.write_suite(tmp_path, synthetic.PAPER_ROWS[:2], seeds=range(3))
    minutes = iter((10, 20, 90))
    for path in sorted((tmp_path / "records").glob("*resnet50_baseline*.json")):
        content = json.loads(path.read_text())
        content["seconds"] = {"train": 60 * next(minutes), "evaluate": 30}
        content["memory"] = {"host": 2**31}
        path.write_text(json.dumps(content))
    shown = cost_table(collect(tmp_path).gains[0], "t")
    lines = {row[0]: row[1:] for row in shown.rows}
    assert lines["resnet50_baseline"] == ("20.0", "0.5", "2.00", "25.58", "4.33")
    assert lines["resnet50d_efficient"][2].startswith("–"), "memory was not recorded"


def test_a_link_is_a_link_on_the_page_and_text_elsewhere():
    cells = [[Link("a<b", "records/a%20b.json"), "1.00"], ["c", Missing("No run.")]]
    shown = table("t", title="T", columns=("record", "verdict"), rows=cells)
    assert '<a href="records/a%20b.json">a&lt;b</a>' in to_html(shown)
    assert "records/" not in to_markdown(shown)
    assert "a<b" in to_csv([shown])


@pytest.mark.parametrize(("columns", "is_wide"), [(4, False), (12, True)])
def test_a_table_of_many_columns_becomes_cards_whose_cells_say_their_column(columns, is_wide):
    names = [f"c{number}" for number in range(columns)]
    text = to_html(table("t", title="T", columns=names, rows=[names]))
    assert ('class="wide"' in text) == is_wide
    assert text.count("data-column=") == columns - 1


def test_only_a_verdict_is_coloured():
    rows = [["gain", "gain"], ["a", "loss"], ["b", "inconclusive"]]
    text = to_html(table("t", title="T", columns=("row", "verdict"), rows=rows))
    assert text.count('class="gain"') == text.count('class="loss"') == 1


scores = st.lists(st.one_of(st.floats(0, 1), st.just(float("nan"))), min_size=1, max_size=30)


@given(scores, st.randoms(use_true_random=False), st.integers(1, 5))
def test_images_are_picked_once_and_no_better_one_is_passed_over(values, random, count):
    row = np.array(values)
    base = np.array(random.sample(values, len(values)))
    picked = pick(row, base, count)
    places = [place for _, place in picked]
    assert len(places) == len(set(places))
    known = np.flatnonzero(np.isfinite(row) & np.isfinite(base))
    assert set(places) <= set(known.tolist())
    of = {kind: [p for k, p in picked if k == kind] for kind in (BEST, WORST, CHANGED)}
    assert all(len(several) <= count for several in of.values())
    change = np.abs(row - base)
    left = [place for place in known if place not in of[CHANGED]]
    if of[CHANGED] and left:
        assert min(change[of[CHANGED]]) >= max(change[left])
    left = [place for place in left if place not in of[BEST]]
    if of[BEST] and left:
        assert min(row[of[BEST]]) >= max(row[left])


def test_shown_images_are_part_of_the_page():
    image = ShownImage(
        kind=WORST, name='a "b"', scores={"one": 0.1, "two": 0.25}, drawn=Image.new("RGB", (9, 5))
    )
    text = images_to_html([image], "F1")
    assert 'src="data:image/jpeg;base64,' in text
    assert "Worst: a &quot;b&quot;. F1: one 0.10, two 0.25." in text
