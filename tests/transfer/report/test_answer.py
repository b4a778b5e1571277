"""The answer in sentences, class by class, and the first screen of the README."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support import synthetic
from transfer.cli import main
from transfer.records.outcomes import DetectionOutcomes
from transfer.report import class_table, front, lead, readme
from transfer.report.answer import answer, groups
from transfer.report.collection import collect
from transfer.report.foundations import in_one_line, rows_in_words
from transfer.report.image_noise import noises_of

ROOT = Path(__file__).resolve().parents[3]
MAP = "mAP (11-point, IoU .5)"
CONTROL, TRICKS = "resnet18_baseline", "resnet18d_tricks"
VALUES = {
    CONTROL: (10.0, 11.0, 12.0),
    TRICKS: (14.0, 15.0, 16.0),
    "resnet18_scratch": (4.0, 5.0, 6.0),
    f"{CONTROL}_shuffled": (10.5, 11.5, 11.0),
}


def one_line(group):
    return in_one_line(group, noises_of(group))


def write(results, task, values=VALUES, headline=(), rare=0.0):
    """A suite's records: each value of a row is another classifier's."""
    paths = []
    for row, figures in values.items():
        for seed, value in enumerate(figures):
            of = synthetic.cell(row, task, data="voc2012-animals", classifier=f"seed {seed}")
            path = synthetic.write(results, of, value, top1=8.3, classifier=str(seed))
            content = json.loads(path.read_text())
            config = json.loads(content["config"]["json"])
            config["val_evaluator"]["headline_classes"] = list(headline)
            content["config"]["json"] = json.dumps(config)
            kind = "AP_11points" if task == "detection" else "IoU"
            content["metrics"] |= {f"{kind}/{name}": value for name in synthetic.VOC}
            content["metrics"] |= {f"{synthetic.METRIC[task]}_all": value / 2, f"{kind}/bus": rare}
            path.write_text(json.dumps(content))
            paths.append(path)
    return paths


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    write(folder, "detection")
    write(folder, "segmentation")
    return folder


def answered(found):
    """The answer of the only group of tables."""
    (group,) = groups(found.gains).values()
    return group, answer(group)


def test_both_tasks_stand_in_one_answer_with_gain_interval_and_verdict(results):
    group, found = answered(collect(results))
    first = found.tasks[0].finding
    assert f"{TRICKS} (top-1 8.30 % on ImageNet) makes a better detector than" in first
    assert f"{CONTROL} (8.30 %): +4.00" in first
    assert f"{TRICKS} makes a better segmenter than {CONTROL}: +4.00" in found.tasks[1].finding
    for table, one in zip(group, found.tasks, strict=True):
        row = next(row for row in table.rows if row.name == TRICKS).statistics
        assert (one.task, one.verdict, row.verdict) == (table.setting.task, "gain", "gain")
        assert f"95 % interval {row.gain_low:.2f} … {row.gain_high:.2f}" in one.finding
    assert found.tasks[0].finding.startswith("Fine-tuned on voc2012-animals, ")
    assert "resnet18_scratch: detection -6.00 mAP" in found.controls
    assert f"{CONTROL}_shuffled: detection +0.00 mAP" in found.controls
    assert "inconclusive" in found.controls


def test_the_basis_is_one_line(results):
    group, _ = answered(collect(results))
    text = one_line(group)
    assert text.startswith("24 runs of protocol openmmlab, 3 classifiers per row, ")
    assert f"{TRICKS}: resnet18d, top-1 8.30 % on ImageNet, tricks: " in rows_in_words(group)
    assert "4,952 test images" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("rows", "clause"),
    [
        ((CONTROL, TRICKS), "on these test images."),
        ((CONTROL, TRICKS, "resnet18_scratch"), "on these test images, for each row alone."),
        ((CONTROL, TRICKS, "resnet18b_smooth"), "images, for all rows of a task together."),
        (
            (CONTROL, TRICKS, "resnet18b_smooth", "resnet18_scratch"),
            "images, for all rows of a task together and for each control alone.",
        ),
    ],
)
def test_the_basis_says_for_which_rows_the_intervals_hold_at_once(rows, clause, tmp_path):
    write(tmp_path, "detection", {row: (10.0, 11.0, 12.5) for row in rows})
    group, _ = answered(collect(tmp_path))
    assert one_line(group).endswith(clause)
    assert "Intervals: over classifiers and seeds, " in one_line(group)


def test_intervals_of_given_weights_are_over_seeds(tmp_path):
    for row in (CONTROL, TRICKS):
        for seed in range(3):
            synthetic.write(tmp_path, synthetic.cell(row, seed=seed), 10.0 + seed + seed**2 / 10)
    group, _ = answered(collect(tmp_path, against=CONTROL))
    assert "Intervals: over seeds, on these test images." in one_line(group)


def test_the_gain_stands_out_and_the_ends_of_its_interval_do_not():
    for text in ("a: -0.59 mIoU, 95 % interval -1.70 … 0.51", "a: -2.00 mIoU, 95 % -3.10 … -0.90"):
        assert [found[0] for found in lead._GAIN.finditer(text)] == [text[3:8]]


@pytest.mark.parametrize(
    ("row", "detection", "segmentation", "subject"),
    [
        (TRICKS, 81.10 - 77.54, 37.99 - 37.05, "the same tricks"),  # those of resnet50d_mixup
        ("efficientnet_lite1", 81.33 - 77.54, 38.40 - 37.05, "all tricks"),
    ],
)
def test_the_papers_gain_is_that_of_the_same_tricks_or_of_all(
    row, detection, segmentation, subject, tmp_path
):
    for task in ("detection", "segmentation"):
        write(tmp_path, task, {CONTROL: VALUES[CONTROL], row: VALUES[TRICKS]})
    _, found = answered(collect(tmp_path, against=CONTROL))
    for one, gain, data in zip(
        found.tasks, (detection, segmentation), ("VOC", "ADE20K"), strict=True
    ):
        expected = f"in the paper, ResNet-50 with {subject} gained {gain:+.2f} on {data}"
        assert one.beside == expected


def test_a_row_of_the_paper_has_its_own_gain_beside_it(tmp_path):
    synthetic.write_suite(tmp_path, synthetic.PAPER_ROWS[:2], seeds=range(3))
    _, found = answered(collect(tmp_path))
    assert found.tasks[0].beside == "in the paper, resnet50d_efficient gained +0.76 on VOC"


@pytest.mark.parametrize(
    ("shift", "verdict", "claim"),
    [
        (4.0, "gain", "makes a better detector than"),
        (-4.0, "loss", "makes a worse detector than"),
        (0.3, "inconclusive", "may make a better or a worse detector than"),
    ],
)
def test_the_claim_is_no_stronger_than_the_verdict(shift, verdict, claim, tmp_path):
    base = VALUES[CONTROL]
    write(tmp_path, "detection", {CONTROL: base, "mine": [value + shift for value in base[::-1]]})
    _, found = answered(collect(tmp_path, against=CONTROL))
    (one,) = found.tasks
    assert (one.verdict, claim in one.finding) == (verdict, True)
    assert ("would have been found with 80 % power" in one.finding) == (verdict == "inconclusive")


def test_several_rows_are_listed_and_many_are_counted(tmp_path):
    rows = {f"mine{i}": [value + 5 * i for value in VALUES[CONTROL]] for i in range(1, 7)}
    write(tmp_path, "detection", {CONTROL: VALUES[CONTROL], **dict(list(rows.items())[:2])})
    _, found = answered(collect(tmp_path, against=CONTROL))
    assert all(f"mine{i} +{5 * i}.00 mAP" in found.tasks[0].finding for i in (1, 2))
    write(tmp_path, "detection", rows)
    _, found = answered(collect(tmp_path, against=CONTROL))
    assert "6 of 6 rows gain against" in found.tasks[0].finding
    assert found.tasks[0].verdict == "gain"


def test_controls_that_all_lose_take_half_a_sentence(results):
    for path in (results / "records").glob("*shuffled*.json"):
        content = json.loads(path.read_text())
        content["headline"]["value"] -= 7
        path.write_text(json.dumps(content))
    _, found = answered(collect(results))
    names = f"{CONTROL}_shuffled, resnet18_scratch"
    assert found.controls in (
        f"Both controls lose in both tasks ({names}).",
        "Both controls lose in both tasks (resnet18_scratch, resnet18_baseline_shuffled).",
    )


def test_shuffled_and_random_weights_of_an_own_row_are_controls_too(results):
    for path in (results / "records").glob("*.json"):
        content = json.loads(path.read_text())
        content["cell"]["backbone"] = content["cell"]["backbone"].replace("resnet18", "mine")
        path.write_text(json.dumps(content))
    _, found = answered(collect(results, against=CONTROL.replace("resnet18", "mine")))
    for one in found.tasks:
        assert "mined_tricks " in one.finding
        assert "shuffled" not in one.finding
    assert "mine_scratch: detection -6.00 mAP" in found.controls
    assert "mine_baseline_shuffled: detection +0.00 mAP" in found.controls


def test_rows_from_random_weights_alone_are_rows_and_their_runs_are_counted(tmp_path):
    """A row that a suite declares is a row: there is no pretraining here that it could show."""
    values = {name: VALUES[CONTROL] for name in ("one_scratch", "mine")}
    for number, path in enumerate(write(tmp_path, "detection", values)):
        content = json.loads(path.read_text())
        content["cell"] |= {"scratch": True, "weights": "", "architecture": "resnet18"}
        content["cell"] |= {"seed": number % 3, "id": f"{number:012}"}
        content["classifier"] |= {"sha256": "", "source": "", "top1": None}
        content["headline"]["value"] += 4 * (content["cell"]["backbone"] == "one_scratch")
        path.write_text(json.dumps(content))
    group, found = answered(collect(tmp_path, against="mine"))
    assert "one_scratch makes a better detector than mine: +4.00 mAP" in found.tasks[0].finding
    assert not found.controls
    assert "3 runs from random weights per row" in one_line(group)


def test_random_weights_of_a_users_own_file_are_a_row_beside_pretrained_ones(results):
    for path in (results / "records").glob("*resnet18_scratch*.json"):
        content = json.loads(path.read_text())
        content["cell"]["backbone"] = "from_nothing"
        path.write_text(json.dumps(content))
    _, found = answered(collect(results))
    assert all("from_nothing -6.00" in one.finding for one in found.tasks)


def test_tables_of_one_task_are_distinguished_by_what_they_differ_in(results):
    for path in sorted((results / "records").glob("detection_*.json")):
        content = json.loads(path.read_text())
        content["cell"]["overrides"] = [["optim_wrapper.optimizer.lr", "0.04"]]
        content["cell"]["id"] = content["cell"]["id"][::-1]
        path.with_name(f"other_{path.name}").write_text(json.dumps(content))
    _, found = answered(collect(results))
    assert [one.task for one in found.tasks] == [
        "detection with the protocol's settings",
        "detection with learning rate 0.04",
        "segmentation",
    ]
    assert all("+4.00" in one.finding for one in found.tasks)
    assert "detection with learning rate 0.04 -6.00" in found.controls


def test_one_run_a_row_claims_nothing(tmp_path):
    write(tmp_path, "detection", {row: values[:1] for row, values in VALUES.items()})
    group, found = answered(collect(tmp_path))
    assert found.tasks[0].verdict == "no claim"
    assert f"too few runs for a verdict: +4.00 {MAP}" in found.tasks[0].finding
    assert "No verdicts: the baseline " in one_line(group)


def test_the_first_screen_is_put_between_its_marks_and_nothing_else_changes(results, capsys):
    top = results.parent / "README.md"
    top.write_text(f"# Mine\n\n{front.PART.begin}\nold\n{front.PART.end}\n\nThe rest.\n")
    for _ in range(2):
        assert main.main(["table", "all", "--write", "--results", str(results)]) == 0
        assert str(top) in capsys.readouterr().out
    text = top.read_text()
    assert text.startswith(f"# Mine\n\n{front.PART.begin}\n")
    assert text.endswith(f"{front.PART.end}\n\nThe rest.\n")
    assert "\nold\n" not in text
    assert (
        "**Detection: gain.** Fine-tuned on voc2012-animals, resnet18d_tricks (top-1 8.30 %" in text
    )
    assert main.main(["report", "--results", str(results)]) == 0
    drawn = [line.partition("](")[2].rstrip(")") for line in text.splitlines() if "![" in line]
    assert len(drawn) == 1
    for path in drawn:
        assert (results.parent / path).read_text().startswith("<?xml")


def test_the_readmes_first_screen_is_not_stale():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    between = text.partition(front.PART.begin)[2].partition(front.PART.end)[0]
    found = collect(ROOT / "results")
    made = front.front(found, noises_of(found.gains), "results/pictures")
    assert between == f"\n{made}", "run 'transfer table all --write'"


def test_a_readme_without_marks_is_left_alone_and_a_damaged_one_is_reported(results, capsys):
    top = results.parent / "README.md"
    for text in ("# Mine\n", f"# Mine\n{front.PART.begin}\n"):
        top.write_text(text)
        status = main.main(["table", "all", "--write", "--results", str(results)])
        assert top.read_text() == text
        assert status == (2 if front.PART.begin in text else 0)
    assert "Restore these lines" in capsys.readouterr().err
    top.write_bytes(f"# Mine\n{front.PART.begin}\n{front.PART.end}\n".encode() + b"p\xe8re\n")
    assert main.main(["table", "all", "--write", "--results", str(results)]) == 2
    assert "is not text in UTF-8" in capsys.readouterr().err
    top.write_bytes(b"p\xe8re\n")
    assert main.main(["table", "all", "--write", "--results", str(results)]) == 0


def test_notes_of_the_folder_stand_below_the_answer(results):
    (results / "notes.md").write_text("What this cannot say.\n")
    assert main.main(["table", "all", "--write", "--results", str(results)]) == 0
    text = (results / "README.md").read_text()
    assert (
        text.index("**Detection: gain.**")
        < text.index("What this cannot say.")
        < text.index("### Table 1")
    )


def test_every_class_with_its_boxes_stands_beside_a_headline_of_some(tmp_path):
    headline = ("dog", "cat")
    paths = write(tmp_path, "detection", headline=headline, rare=50.0)
    positives = np.zeros((2, len(synthetic.VOC)), int)
    positives[:, synthetic.VOC.index("dog")] = (3, 4)
    positives[0, synthetic.VOC.index("bus")] = 1
    none = np.zeros(0, int)
    outcomes = DetectionOutcomes(
        images=np.array(["a", "b"]),
        positives=positives,
        image=none,
        label=none,
        score=np.zeros(0),
        correct=none > 0,
        ignored=none > 0,
    )
    for path in paths:
        np.savez(path.with_suffix(".npz"), **outcomes.to_arrays())
    (gains,) = collect(tmp_path).gains
    shown = class_table.class_table(gains, "x")
    assert shown.columns == ("class", "test boxes", *(row.name for row in gains.rows))
    lines = {row[0]: row[1:] for row in shown.rows}
    at = shown.columns.index(TRICKS) - 1
    assert lines["mean of the 2 with *"][at] == "15.00"
    assert lines["mean of all 20"][at] == "7.50"
    assert (lines["dog *"][0], lines["dog *"][at]) == ("7", "15.00")
    assert (lines["bus"][0], lines["bus"][at]) == ("1", "50.00")
    assert shown.rows[2][0] == "dog *"


def test_where_the_headline_is_of_all_classes_they_have_their_figures_too(results):
    """As in the records: the first row's, class by class."""
    for gains in collect(results).gains:
        shown = class_table.class_table(gains, "x")
        first = gains.rows[0].records[0].content["metrics"]
        figures = {key.partition("/")[2] for key in first if "/" in key}
        assert {row[0] for row in shown.rows[1:]} == figures
        assert shown.rows[0][0] == f"mean of all {len(figures)}"
        assert not any("*" in note for note in shown.notes)


def test_notes_that_cannot_be_read_are_named_and_the_rest_is_written(results):
    whole = readme.text(results)
    (results / "notes.md").write_bytes(b"\xff\xfe\xfa")
    text = readme.text(results)
    assert f"{results / 'notes.md'}' is not text in UTF-8" in text.replace("\\", "")
    assert text.startswith(whole.partition("## Left out")[0][:2000])
