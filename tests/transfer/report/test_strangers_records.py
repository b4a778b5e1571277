"""A folder of results with strangers' files in it: every command names the bad ones and goes on."""

import csv
import io
import json
import os
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from markdown_it import MarkdownIt

from tests.support import synthetic
from transfer.cli import main
from transfer.records import records
from transfer.report import readme

ROWS = ("resnet50_baseline", "resnet50d_mixup")


@pytest.fixture
def results(tmp_path):
    """Two rows of two seeds each, with figures that make a table."""
    for shift, row in enumerate(ROWS):
        for seed in range(2):
            synthetic.write(tmp_path / "r", synthetic.cell(row, seed=seed), 70.0 + shift + seed / 9)
    return tmp_path / "r"


def changed(folder, name, change):
    """A copy of a record with a change in it."""
    path = next(folder.glob("records/*.json"))
    content = json.loads(path.read_text())
    change(content)
    (folder / "records" / name).write_text(json.dumps(content))


def put(*keys, value):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


def config(value):
    return put("config", "json", value=value)


ODD = {
    "10^400": put("headline", "value", value=10**400),
    "nan": put("headline", "value", value=float("nan")),
    "minus": put("headline", "value", value=-1.0),
    "true": put("headline", "value", value=True),
    "above": put("headline", "value", value=1e9),
    "surrogate": put("cell", "backbone", value="\ud800"),
    "nested": config("[" * 5000),
    "no_table": config("[1]"),
    "no_json": config("model = 3"),
    "seed": put("cell", "seed", value=-1),
    "digits": put("cell", "seed", value=10**30),
    "curve": put("metrics", "mAP", value=float("inf")),
}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_record_is_named_and_left_out(what, results, tmp_path, capsys):
    changed(results, f"odd_{what}.json", ODD[what])
    for command in (["table", "8"], ["report", "--out", str(tmp_path / "page.html")]):
        assert main.main([*command, "--results", str(results)]) == 0
    page = (tmp_path / "page.html").read_text()
    assert f"odd_{what}.json" in page
    assert "resnet50d_mixup" in page
    assert main.main(["merge", str(results), "--results", str(tmp_path / "m")]) == 0
    said = capsys.readouterr().out
    assert "4 records merged" in said
    assert said.count(f"odd_{what}.json") >= 2
    assert len(list((tmp_path / "m" / "records").glob("*.json"))) == 4


def pipe(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def folder(path):
    path.mkdir()


@pytest.mark.parametrize("make", [pipe, endless, folder])
def test_what_is_no_file_is_named_and_nobody_waits(make, results, tmp_path, capsys):
    make(results / "records" / "a.json")
    (results / "failures").mkdir()
    make(results / "failures" / "b.json")
    make(results / "notes.md")
    with_images = next((results / "records").glob("*.json"))
    make(with_images.with_suffix(".npz"))
    assert main.main(["table", "8", "--results", str(results)]) == 0
    assert main.main(["report", "--out", str(tmp_path / "p.html"), "--results", str(results)]) == 0
    assert "a.json" in capsys.readouterr().out
    assert "notes.md" in (tmp_path / "p.html").read_text()
    assert "notes.md" in readme.text(results)


@pytest.mark.parametrize(
    "place",
    [
        ("val_evaluator",),
        ("val_dataloader",),
        ("val_dataloader", "dataset", "metainfo"),
        ("val_dataloader", "dataset", "metainfo", "classes"),
        ("val_evaluator", "headline_classes"),
        ("model", "backbone"),
        ("model", "data_preprocessor"),
        ("custom_hooks",),
    ],
    ids=".".join,
)
@pytest.mark.parametrize("odd", [3, ["a"], {"a": 1}, None, "text", [[1], {}]], ids=str)
def test_a_config_of_odd_parts_breaks_no_page(place, odd, results, tmp_path):
    for path in (results / "records").glob("*.json"):
        content = json.loads(path.read_text())
        resolved = json.loads(content["config"]["json"])
        part = resolved
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = odd
        content["config"]["json"] = json.dumps(resolved)
        path.write_text(json.dumps(content))
    page = tmp_path / "page.html"
    assert main.main(["report", "--results", str(results), "--out", str(page)]) == 0
    assert "resnet50d_mixup" in page.read_text()


NAME = "a|b`c <img src=x onerror=1> [l](http://e.org) $\\bad{$ =1+1 \x1b[31m :apple: [bold]x[/bold]"


@pytest.fixture
def named(tmp_path):
    """A row and a data set that are called like an attack."""
    for row in ("resnet50_baseline", NAME):
        for seed in range(2):
            cell = synthetic.cell(row, seed=seed, data=NAME)
            path = synthetic.write(tmp_path / "r", cell, 70.0 + seed)
            path.rename(path.with_name(f"{row[:3].replace('|', '')}{seed}.json"))
    return tmp_path / "r"


def test_names_are_text_in_every_format_and_on_the_terminal(named, tmp_path, capsys):
    pictures = tmp_path / "pictures"
    command = ["report", "--results", str(named), "--out", str(tmp_path / "p.html")]
    assert main.main([*command, "--pictures", str(pictures)]) == 0
    page = (tmp_path / "p.html").read_text()
    assert "<img src=x" not in page
    assert "\x1b" not in page
    drawn = list(pictures.glob("*.svg"))
    assert drawn
    for picture in drawn:
        ET.parse(picture)
    capsys.readouterr()
    for form in ("md", "csv", "latex"):
        assert main.main(["table", "all", "--results", str(named), "--format", form]) == 0
        said = capsys.readouterr().out
        assert "\x1b" not in said
        assert "img src=x" in said, "the name is shown"
        if form == "md":
            html = MarkdownIt("gfm-like", {"linkify": False}).render(said)
            assert not re.search("<(img|a|code)", html)
        if form == "csv":
            for line in csv.reader(io.StringIO(said)):
                assert not any(field.lstrip().startswith("=") for field in line)
        if form == "latex":
            assert "$\\bad" not in said


def test_companions_of_file_managers_are_no_records(results, tmp_path, capsys):
    first = next((results / "records").glob("*.json"))
    for path in (first, first.with_suffix(".npz")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
    (results / "records" / ".DS_Store").write_bytes(b"\0")
    (results / "records" / ".ipynb_checkpoints").mkdir()
    assert main.main(["table", "8", "--results", str(results)]) == 0
    assert "Left out" not in capsys.readouterr().out
    from transfer.cli.show import find

    assert find(first.stem.rpartition("_")[2], results).path == first


def test_records_have_the_permissions_that_the_umask_leaves(tmp_path):
    for mask, wanted in ((0o077, 0o600), (0o022, 0o644), (0o002, 0o664)):
        before = os.umask(mask)
        try:
            path = synthetic.write(tmp_path / oct(mask), synthetic.cell(ROWS[0]), 1.0)
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o777 == wanted


def test_per_image_results_of_odd_types_leave_the_table_whole(results, tmp_path, capsys):
    for path in (results / "records").glob("*.json"):
        with path.with_suffix(".npz").open("wb") as file:
            np.savez(file, images=np.zeros(2, "V8"), positives=np.zeros((2, 3), "u1, u1"))
    page = tmp_path / "p.html"
    assert main.main(["report", "--results", str(results), "--out", str(page)]) == 0
    assert "resnet50d_mixup" in page.read_text()
    assert records.read_all(results, "voc0712")[1] == []


@pytest.mark.parametrize("count", [1, 3, 21])
def test_per_image_results_for_other_classes_leave_the_table_whole(
    count, results, tmp_path, capsys
):
    for path in (results / "records").glob("*.json"):
        with path.with_suffix(".npz").open("wb") as file:
            np.savez(
                file,
                images=np.array(["a", "b"]),
                positives=np.ones((2, count), int),
                **{name: np.zeros(2, int) for name in ("image", "label")},
                score=np.ones(2),
                **{name: np.ones(2, bool) for name in ("correct", "ignored")},
            )
    page = tmp_path / "p.html"
    assert main.main(["table", "--results", str(results)]) == 0
    assert main.main(["report", "--results", str(results), "--out", str(page)]) == 0
    assert f"results for {count} classes, but its record has 20" in page.read_text()
