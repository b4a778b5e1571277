import csv
import io
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backbones.common.errors import UserError
from backbones.zoo import paper_figures
from tests.support import paper_transcription
from transfer.report import layout, paper_tables
from transfer.report.collection import collect

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("torch", "mmengine", "mmcv", "timm", "cv2", "matplotlib")


@pytest.fixture(scope="module")
def nothing(tmp_path_factory):
    return collect(tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize("number", paper_tables.NUMBERS)
def test_the_papers_figures_equal_a_second_transcription_digit_by_digit(number, nothing):
    (shown,) = paper_tables.paper_table(number, nothing)
    of_paper = [i for i, name in enumerate(shown.columns) if name.endswith(", paper")]
    of_paper = [i for i in of_paper if shown.columns[i] != "gain, paper"]  # ours to compute
    label = {6: 1}.get(number, 0)
    printed = [
        (row[label], ["-" if row[i].startswith("–") else row[i] for i in of_paper])
        for row in shown.rows
    ]
    assert printed == paper_transcription.lines(number)


@pytest.mark.parametrize("number", paper_tables.NUMBERS)
def test_the_csv_files_hold_nothing_but_the_transcription(number):
    """The files themselves, whatever the tables make of them."""
    names = [
        name for name in paper_figures.table(number)[0] if not name.endswith(("row", "version"))
    ]
    names = [n for n in names if n not in ("note", "network", "runs", "model", "refinement")]
    names = [n for n in names if n != "heuristic"]
    in_files = [[line[name] or "-" for name in names] for line in paper_figures.table(number)]
    typed = [figures for _, figures in paper_transcription.lines(number)]
    if number == 6:
        typed = [
            [part for f in figures for part in (f.split(" ± ") if "±" in f else (f, "-"))]
            for figures in typed
        ]
    assert in_files == typed


@pytest.mark.parametrize("number", paper_tables.NUMBERS)
def test_every_empty_cell_says_why_and_what_fills_it(number, nothing):
    (shown,) = paper_tables.paper_table(number, nothing)
    marks = {cell[2:] for row in shown.rows for cell in row if cell.startswith("–")}
    fields = {note.split(" ")[0]: note for note in shown.notes if note.startswith("[")}
    assert marks == fields.keys()
    assert not any(cell == "" for row in shown.rows[1:] for cell in row)
    for note in fields.values():
        fills = "python backbones/train.py" in note or "transfer " in note
        assert fills or "the paper" in note.lower()


def test_a_distilled_row_asks_for_its_teacher(nothing):
    (shown,) = paper_tables.paper_table(1, nothing)
    assert any("resnet50d_mixup_distill --data IMAGENET --teacher" in note for note in shown.notes)


@pytest.mark.parametrize("asked", ["0", "10", "x", "-1", "1.0", "²"])
def test_there_are_nine_tables(asked):
    with pytest.raises(UserError, match="choose 1 to 9, or all"):
        paper_tables.numbers(asked)


def test_where_the_paper_disagrees_with_itself_is_said(nothing):
    notes = [n for i in paper_tables.NUMBERS for t in paper_tables.paper_table(i, nothing)
             for n in t.notes]  # fmt: skip
    for fact in ("3.79 points", "Table 6 has 78.31 (v2) and 78.37 (CVPR)", "never defined",
                 "90.53", "79.15 (v2) and 79.01 (CVPR)"):  # fmt: skip
        assert any(fact in note for note in notes), fact


@pytest.fixture
def awkward():
    return layout.table(
        "t", title="A_b & <c> | 5 %", columns=["name", "x, y", "z"],
        rows=[["a|b_c", "1.0", layout.Missing("r1")], ["<d>", layout.Missing("r2"), "−1 ± 2"]],
        notes=["A note & more."],
    )  # fmt: skip


def test_markdown_keeps_its_columns(awkward):
    lines = [line for line in layout.to_markdown(awkward).splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in lines} == {4}
    assert r"| \<d> | – [b] | −1 ± 2 |" in lines


def test_csv_is_one_table_of_plain_data(awkward):
    """Whatever the tables: numbers in columns of their own, no marks and no notes among them."""
    intervals = layout.table(
        "u", title="Another", columns=["name", "95 %"], rows=[["x", "1.90 … 13.20"], ["y", "–1"]]
    )
    text = layout.to_csv([awkward, intervals])
    rows = list(csv.DictReader(io.StringIO(text)))
    by_place = {(r["table"], r["row"], r["column"]): r for r in rows}
    assert len(by_place) == len(rows) == 2 * 3 + 2 * 2
    assert by_place["t", "a|b_c", "x, y"]["value"] == "1.0"
    assert by_place["t", "a|b_c", "z"]["missing"] == "r1"
    assert by_place["t", "<d>", "z"]["value"] == "-1.0"
    assert by_place["t", "<d>", "z"]["text"] == "−1 ± 2"
    assert by_place["u", "x", "95 %"] | {"low": "1.9", "high": "13.2"} == by_place["u", "x", "95 %"]
    numbers = [row[name] for row in rows for name in ("value", "low", "high") if row[name]]
    assert all(math.isfinite(float(number)) for number in numbers)
    assert "#" not in text
    assert "[a]" not in text


def test_latex_has_no_bare_sign_that_latex_would_read(awkward):
    text = layout.to_latex(awkward)
    assert r"A\_b \& \textless{}c\textgreater{} \textbar{} 5 \%" in text
    assert text.count(" & ") == 3 * 2
    assert r"$-$1 $\pm$ 2" in text


def test_html_is_escaped(awkward):
    text = layout.to_html(awkward)
    assert "&lt;d&gt;" in text
    assert "<d>" not in text
    assert text.count('scope="col"') == 3
    assert text.count('scope="row"') == 2


def test_reasons_beyond_z_have_marks_of_their_own():
    shown = layout.table(
        "t", title="t", columns=["a"], rows=[[layout.Missing(str(i))] for i in range(30)]
    )
    assert len({row[0] for row in shown.rows}) == 30
    assert shown.rows[26][0] == "– [aa]"


@pytest.mark.parametrize("form", [*layout.FORMATS, "csv"])
def test_the_command_answers_at_once_and_imports_nothing_heavy(form, tmp_path):
    command = [sys.executable, "-X", "importtime", "-m", "transfer.cli.main", "table", "all"]
    start = time.monotonic()
    done = subprocess.run(
        [*command, "--format", form],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 2
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported.intersection(HEAVY)
    assert "81.33" in done.stdout
