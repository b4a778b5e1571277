import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from tests.support import synthetic
from transfer.records.records import Record
from transfer.report.collection import collect, families
from transfer.report.pictures import answer_plot, choice, correlation_plot, curves, per_class, style
from transfer.report.pictures.gallery import answer_picture, pictures

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    synthetic.write_suite(results, synthetic.PAPER_ROWS, seeds=range(3), protocol="paper")
    return list(collect(results).gains)


def texts(figure):
    root = ET.fromstring(style.svg(figure))
    return [" ".join("".join(t.itertext()).split()) for t in root.iter(f"{SVG}text")]


def test_the_same_figures_make_the_same_bytes(tables):
    for draw in (answer_plot.draw, correlation_plot.draw, curves.draw, per_class.draw):
        first, second = draw(tables), draw(tables)
        assert style.svg(first) == style.svg(second)
        assert b"<dc:date>" not in style.svg(first)
    printed = style.png(answer_plot.draw(tables))
    assert printed == style.png(answer_plot.draw(tables))
    assert b"Software" not in printed


def test_gains_are_drawn_where_they_are_and_the_papers_dots_beside_them(tables):
    figure = answer_plot.draw(tables)
    (axes,) = figure.axes
    rows = [row for row in tables[0].rows if row.name != "resnet50_baseline"]
    ours = sorted(line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o")
    assert ours == pytest.approx(sorted(row.statistics.gain for row in rows))
    dots = sorted(line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D")
    assert dots == pytest.approx([0.76, 1.69, 3.17, 3.42, 3.56, 3.79])
    ends = sorted(
        tuple(line.get_xdata())
        for line in axes.lines
        if len(line.get_xdata()) == 2 and line.get_lw() == 3
    )
    wanted = sorted((r.statistics.gain_low, r.statistics.gain_high) for r in rows)
    assert np.allclose(ends, wanted)
    shown = " ".join(texts(figure))
    for row in rows:
        found = row.statistics
        words = f"{found.gain:+.2f} ({found.gain_low:.2f} … {found.gain_high:.2f}) {found.verdict}"
        assert row.name in shown
        assert words in shown


@pytest.mark.parametrize(
    ("text", "lines", "smallest"),
    [
        ("Detection on voc2012-animals, protocol quick", 1, 10),
        ("Segmentation on voc2012-animals, protocol openmmlab, bfloat16, lr = 0.01", 1, 8),
        ("Detection on animals, protocol quick, bfloat16, a.b = 3, c.d.end = 4, " + "e" * 40, 2, 8),
        ("one word without a comma " * 8, 1, 3),
    ],
)
def test_a_long_title_stands_on_two_lines_and_inside_the_picture(text, lines, smallest):
    with style.canvas(7.0, 2.0, margins=style.Margins()) as (figure, _):
        style.title(figure, text)
    title_lines = figure.get_suptitle().split("\n")
    assert (len(title_lines), " ".join(title_lines)) == (lines, text)
    size = figure._suptitle.get_fontsize()
    assert smallest <= size <= 10
    assert style.text_width(title_lines, size) <= 7.0


def test_a_gain_and_a_loss_have_their_own_colours(tmp_path):
    rows = {"resnet50_baseline": 0.0, "better": 9.0, "worse": -9.0, "same": 0.0}
    synthetic.write_suite(tmp_path, list(rows), seeds=range(4), gain=rows, spread=0.5)
    figure = answer_plot.draw(collect(tmp_path, against="resnet50_baseline").gains)
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    colours = {round(line.get_xdata()[0] / 9): line.get_color() for line in marks}
    assert colours == {1: style.GAIN, -1: style.LOSS, 0: style.GREY}


def test_the_classes_of_the_headline_are_drawn_for_the_rows_in_question(tmp_path):
    rows = ["resnet50_baseline", "resnet50d_mixup", "resnet50_scratch"]
    synthetic.write_suite(tmp_path, rows, seeds=range(2))
    for path in (tmp_path / "records").glob("*.json"):
        content = json.loads(path.read_text())
        config = json.loads(content["config"]["json"])
        config["val_evaluator"]["headline_classes"] = ["dog", "cat"]
        content["config"]["json"] = json.dumps(config)
        path.write_text(json.dumps(content))
    figure = per_class.draw(collect(tmp_path).gains)
    shown = texts(figure)
    assert {"dog", "cat"} <= set(shown)
    assert "bus" not in shown
    assert "resnet50_scratch" not in shown
    assert any("2 of 20 classes" in text for text in shown)


def test_one_seed_is_drawn_without_an_interval(tmp_path):
    synthetic.write_suite(tmp_path, synthetic.PAPER_ROWS[:3], seeds=[0])
    figure = answer_plot.draw(collect(tmp_path).gains)
    assert not any(line.get_lw() == 3 for line in figure.axes[0].lines)
    assert all(
        "no claim" in text for text in texts(figure) if text.startswith(("+", "-")) and "." in text
    )
    assert any("gain without an interval" in text for text in texts(figure))


def test_the_papers_correlations_are_those_of_its_seven_points(tables):
    for metric, pearson, spearman in (("mAP", 0.97, 1.0), ("mIoU", 0.38, -0.04),
                                      ("pixAcc", 0.34, 0.07)):  # fmt: skip
        found = correlation_plot.correlate(correlation_plot.paper_points(metric))
        assert (round(found.pearson, 2), round(found.spearman, 2)) == (pearson, spearman)
    drawn = " ".join(texts(correlation_plot.draw(tables)))
    assert "Pearson 0.97" in drawn
    assert "The paper's seven points" in drawn


def test_regression_lines_are_least_squares(tables):
    left, right = correlation_plot.draw(tables).axes
    for axes, shown in ((left, correlation_plot.points(tables)),
                        (right, correlation_plot.paper_points("mAP"))):  # fmt: skip
        x, y = np.array(list(shown.values())).T
        slope = ((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum()
        (line,) = [line for line in axes.lines if line.get_linestyle() == "-"]
        (x1, x2), (y1, y2) = line.get_data()
        assert (y2 - y1) / (x2 - x1) == pytest.approx(slope)


def test_top1_of_other_data_is_not_mixed_in(tables):
    row = tables[0].rows[0]
    assert row.top1_on == "ImageNet"
    assert set(correlation_plot.points(tables)) == {row.name for row in tables[0].rows}


def test_curves_have_a_band_from_the_lowest_to_the_highest_run(tables):
    row = tables[0].rows[1]
    iterations, losses = curves._curves(row)
    assert losses.shape == (3, 100)
    figure = curves.draw(tables)
    band = figure.axes[0].collections[-1].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == pytest.approx((losses.min(), losses.max()))
    assert iterations[0] == 10


def test_malformed_curves_are_not_drawn():
    assert curves._points([{"iteration": 1, "loss": 2.0}, {"loss": 1}]).size == 0
    assert curves._points([3, None]).size == 0
    assert curves._points([]).size == 0
    kept = curves._points([{"iteration": 1, "loss": 2.0}, {"iteration": 2, "loss": float("nan")}])
    assert kept.tolist() == [[1.0, 2.0]]


def test_changes_of_classes_are_differences_of_means(tables):
    pairs = choice.compared(tables)
    found = per_class.changes(pairs)
    row, base = tables[0].rows[2], tables[0].rows[0]

    def mean(of):
        return np.mean([r.content["metrics"]["AP/dog"] for r in of.records])

    assert found[row.name]["dog"] == pytest.approx(mean(row) - mean(base))


def test_a_class_is_averaged_within_each_classifier_first():
    runs = []
    for classifier, seed, value in (("a", 0, 10.0), ("a", 1, 20.0), ("b", 0, 45.0)):
        of = synthetic.cell("resnet50_baseline", seed=seed, classifier=f"seed {classifier}")
        content = synthetic.content(of, value, classifier=classifier, points=2)
        content["metrics"]["AP/dog"] = value
        runs.append(Record(Path(f"{of.id}.json"), content))
    (table,) = families(runs)
    assert per_class._means(table.rows[0])["dog"] == pytest.approx((15 + 45) / 2)


def test_the_form_of_average_precision_is_the_headlines():
    metrics = {"mAP": 70.0, "mAP_11points": 70.0, "mAP_area": 72.0, "AP_area/dog": 1.0}
    assert per_class._prefixes(metrics) == {"IoU", "AP", "AP_11points"}


def test_rows_beyond_six_are_counted_not_hidden(tmp_path):
    rows = ["resnet50_baseline", *(f"mine{i}" for i in range(9))]
    synthetic.write_suite(tmp_path, rows, seeds=range(2), gain={f"mine{i}": i for i in range(9)})
    tables = collect(tmp_path).gains
    kept = [pair.row.name for pair in choice.largest(choice.compared(tables))]
    assert kept == [f"mine{i}" for i in range(3, 9)]
    assert any("6 of 9 rows" in text for text in texts(per_class.draw(tables)))
    marks = [line for line in answer_plot.draw(tables).axes[0].lines if line.get_marker() == "o"]
    assert len(marks) == 9, "gains show every row"


def test_no_line_is_recognised_by_its_colour_alone():
    assert len(set(style.MARKERS)) >= choice.MOST_ROWS
    assert len(set(style.COLOURS)) >= choice.MOST_ROWS


def test_every_picture_has_a_caption_and_is_written_twice(tables, tmp_path):
    found = [answer_picture(tuple(tables), "y"), *pictures(tables, "x")]
    assert [p.name for p in found] == ["y", "x-classes", "x-curves", "x-correlation"]
    svg = style.save(tmp_path / found[0].name, ".svg", found[0].svg)
    png = style.save(tmp_path / found[0].name, ".png", style.png(found[0].figure))
    assert png.read_bytes().startswith(b"\x89PNG")
    ET.fromstring(svg.read_text())
    assert all(picture.caption.endswith(".") for picture in found)


def test_inline_pictures_follow_the_pages_ink_and_share_no_id(tables):
    found = [style.inline(style.svg(p.figure), p.name, 'a "b" <c>') for p in pictures(tables, "x")]
    ids = [i for text in found for i in re.findall(r'\bid="([^"]+)"', text)]
    assert len(ids) == len(set(ids))
    for text in found:
        assert style.INK not in text
        assert not any(colour in text for colour in style.COLOURS)
        assert "<style" not in text
        used = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
        assert set(used) <= set(ids)
        ET.fromstring(text)
