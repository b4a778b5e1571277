import io
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from backbones.zoo import zoo
from tests.support import synthetic
from transfer.cli import main
from transfer.protocols.protocols import TASKS
from transfer.records import failures, records
from transfer.records.outcomes import DetectionOutcomes
from transfer.records.records import Record
from transfer.report import classification, readme, remarks
from transfer.report.collection import collect, families
from transfer.report.foundations import foundations, rests_on
from transfer.report.gain_layout import gain_table
from transfer.report.gains import GainRow, gain_tables
from transfer.report.image_noise import image_noise, noise_sentences
from transfer.report.layout import to_markdown
from transfer.report.paper_tables import paper_table
from transfer.report.pictures.choice import compared
from transfer.report.terminal import print_gains
from transfer.report.verdicts import verdict

ROOT = Path(__file__).resolve().parents[3]


def in_memory(backbone, seed, value, **changed):
    of = synthetic.cell(backbone, seed=seed, **changed)
    return Record(Path(f"{of.name}_{of.id}.json"), synthetic.content(of, value, points=2))


def only_table(results):
    (table,) = collect(results).gains
    return table


def row_of(table, name) -> GainRow:
    return next(row for row in table.rows if row.name == name)


def test_the_readme_is_not_stale():
    made = readme.text(ROOT / "results")
    assert (ROOT / "results" / "README.md").read_text(encoding="utf-8") == made, (
        "run 'transfer table all --write'"
    )


def test_the_table_command_shows_what_was_measured_and_the_papers_only_when_asked(tmp_path, capsys):
    synthetic.write_suite(tmp_path, synthetic.PAPER_ROWS[:2], seeds=range(2), protocol="paper")
    assert main.main(["table", "--results", str(tmp_path)]) == 0
    own = capsys.readouterr().out
    assert "### Detection on voc0712, protocol paper" in own
    assert "mAP (11-point, IoU .5)" in own
    assert "class by class" in own
    assert "Table 1" not in own
    assert main.main(["table", "1", "--results", str(tmp_path)]) == 0
    assert "Table 1" in capsys.readouterr().out


def test_the_table_command_says_where_nothing_was_measured(tmp_path, capsys):
    assert main.main(["table", "--results", str(tmp_path)]) == 0
    assert f"'{tmp_path}'" in capsys.readouterr().out
    assert main.main(["table", "--results", str(tmp_path / "none")]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err


@pytest.mark.parametrize("values", [(2, 10), (5e-5, 0.001)])
def test_tables_of_a_varied_number_come_in_the_order_of_its_values(values, tmp_path):
    name = "optim_wrapper.optimizer.lr"
    for value, task in itertools.product(reversed(values), TASKS):
        changed = {"task": task, "overrides": ((name, value),)}
        synthetic.write_suite(tmp_path, ["resnet50_baseline"], seeds=range(2), **changed)
    recorded = records.read_all(tmp_path, "")[0]
    for tables in (collect(tmp_path).gains, gain_tables(recorded, "resnet50_baseline")):
        found = [(t.setting.task, json.loads(t.setting.overrides)[0][1]) for t in tables]
        assert found == [(task, value) for task in TASKS for value in values]


@pytest.mark.parametrize("command", ["table", "report"])
def test_where_only_the_sample_was_run_the_commands_name_its_option(command, tmp_path, capsys):
    synthetic.write_suite(tmp_path, synthetic.PAPER_ROWS[:2], data="sample")
    runs = len(list((tmp_path / "sample" / "records").glob("*.json")))
    assert main.main([command, "--results", str(tmp_path)]) == 0
    printed = "".join(capsys.readouterr())
    assert f"no runs on real images, but {runs} runs on the built-in sample: add --sa" in printed
    assert "no records yet" not in printed
    assert main.main([command, "--results", str(tmp_path), "--sample"]) == 0
    assert "add --sample" not in "".join(capsys.readouterr())


def test_write_makes_the_readme_of_a_folder_and_needs_all_tables(tmp_path, capsys):
    synthetic.write_suite(tmp_path, synthetic.PAPER_ROWS[:2], seeds=range(2), protocol="paper")
    assert main.main(["table", "8", "--write", "--results", str(tmp_path)]) == 2
    assert "pass 'all'" in capsys.readouterr().err
    assert main.main(["table", "all", "--write", "--results", str(tmp_path)]) == 0
    text = (tmp_path / "README.md").read_text()
    assert text == readme.text(tmp_path)
    assert "protocol paper, float32" in text
    assert "There are no per-image results" in text or "there are no per-image results" in text


def test_the_samples_records_are_not_in_the_readme(tmp_path):
    synthetic.write_suite(tmp_path, ["resnet50_baseline"], data="sample", protocol="quick")
    assert "SAMPLE" not in readme.text(tmp_path)
    assert "SAMPLE" in to_markdown(gain_table(collect(tmp_path, "sample").gains[0], "t"))


@pytest.mark.parametrize(
    "changed",
    [{"data": "voc2012-animals"}, {"protocol": "paper"}, {"precision": "bfloat16"},
     {"protocol_version": "00000000"}, {"data_fingerprint": "ffff"},
     {"overrides": (("optim_wrapper.optimizer.lr", 0.005),)}],
)  # fmt: skip
def test_rows_of_another_setting_never_share_a_table(changed, tmp_path):
    synthetic.write_suite(tmp_path, ["resnet50_baseline"], seeds=range(2))
    synthetic.write_suite(tmp_path, ["resnet50d_mixup"], seeds=range(2), **changed)
    tables = collect(tmp_path).gains
    assert [len(table.rows) for table in tables] == [1, 1]
    assert {row.name for table in tables for row in table.rows} == {
        "resnet50_baseline", "resnet50d_mixup"}  # fmt: skip


def test_other_data_stand_apart_from_the_papers_columns(tmp_path):
    synthetic.write_suite(tmp_path, synthetic.PAPER_ROWS, data="voc2012-animals")
    of_paper, own = paper_table(8, collect(tmp_path))
    ours = of_paper.columns.index("mAP (11-point, IoU .5), ours")
    assert all(row[ours].startswith("–") for row in of_paper.rows)
    assert "voc2012-animals, protocol openmmlab, float32" in own.title
    assert not any(column.endswith(", paper") for column in own.columns)


def test_a_row_with_another_optimiser_is_refused_by_name_and_the_rest_stands(tmp_path):
    synthetic.write_suite(tmp_path, ["resnet50_baseline", "resnet50d_mixup"], seeds=range(3))
    for seed in range(3):
        of = synthetic.cell("resnet50d_smooth", seed=seed)
        synthetic.write(tmp_path, of, 99.0, lr=0.05)
    table = only_table(tmp_path)
    assert [row.name for row in table.rows] == ["resnet50_baseline", "resnet50d_mixup"]
    (sentence,) = table.left_out
    assert "resnet50d_smooth (" in sentence
    assert "optim_wrapper.optimizer.lr is 0.05, in the baseline 0.02" in sentence


def test_one_elder_run_of_the_baseline_does_not_decide_what_is_comparable(tmp_path):
    """A toolbox's upgrade may change a config that the cells' ids do not know."""
    rows = ["resnet50_baseline", "resnet50d_mixup"]
    synthetic.write_suite(tmp_path, rows, seeds=range(4))
    synthetic.write(tmp_path, synthetic.cell("resnet50_baseline", seed=0), 99.0, lr=0.05)
    table = only_table(tmp_path)
    assert [(row.name, row.statistics.fine_tunings) for row in table.rows] == [
        (rows[0], 3),
        (rows[1], 4),
    ]
    (sentence,) = table.left_out
    assert "resnet50_baseline (" in sentence
    assert "optim_wrapper.optimizer.lr is 0.05, in the baseline 0.02" in sentence


@pytest.mark.parametrize(("batch", "lr"), [(4, 0.02), (16, 0.005), (4, 0.005)])
def test_rows_of_another_batch_or_rate_under_the_same_config_are_refused(batch, lr, tmp_path):
    """One config has a batch a process, so the number of processes decides both."""
    synthetic.write_suite(tmp_path, ["resnet50_baseline", "resnet50d_smooth"], seeds=range(3))
    for seed in range(3):
        path = synthetic.write(tmp_path, synthetic.cell("resnet50d_mixup", seed=seed), 99.0)
        content = json.loads(path.read_text())
        content["training"].update(batch_size=batch, lr=lr)
        records.write(path, content)
    table = only_table(tmp_path)
    assert [row.name for row in table.rows] == ["resnet50_baseline", "resnet50d_smooth"]
    (sentence,) = table.left_out
    assert "and 2 more) was fine-tuned differently" in sentence
    assert (
        f"global batch size {batch} and learning rate {lr}, the baseline has 16 and 0.02"
        in sentence
    )


def test_a_batch_that_is_not_known_stands_beside_any(tmp_path):
    synthetic.write_suite(tmp_path, ["resnet50_baseline"], seeds=range(3))
    for seed in range(3):
        path = synthetic.write(tmp_path, synthetic.cell("resnet50d_mixup", seed=seed), 99.0 + seed)
        content = json.loads(path.read_text())
        del content["training"]["batch_size"], content["training"]["lr"]
        records.write(path, content)
    table = only_table(tmp_path)
    assert (len(table.rows), table.left_out) == (2, ())


def write_model(results, row, seed, value, finished, top1=77.0, **says):
    """Write a record of a row whose classifier says what is given of itself."""
    of = synthetic.cell(row, seed=seed)
    content = synthetic.content(of, value, top1=top1, classifier=str(says))
    content["classifier"] |= says
    path = results / "records" / f"{of.name}_{finished}.json"
    records.write(path, {**content, "finished": f"2026-11-{finished}T00:00:00+00:00"})


@pytest.mark.parametrize(
    ("trait", "before", "now"),
    [
        ("architecture", "resnet18", "resnet18d"),
        ("mean", [25.5, 51.0, 229.5], [123.675, 116.28, 103.53]),
        ("std", [127.5, 127.5, 127.5], [58.395, 57.12, 57.375]),
    ],
)
def test_models_under_one_name_are_not_averaged_the_newest_stands(trait, before, now, tmp_path):
    for seed in range(2):
        write_model(tmp_path, "resnet50_baseline", seed, 60.0 + seed, 10 + seed)
        write_model(tmp_path, "n", seed, 40.0 + seed, 14 - seed, 33.0, **{trait: before})
        write_model(tmp_path, "n", seed, 70.0 + seed, 20 + seed, 72.0, **{trait: now})
    table = only_table(tmp_path)
    row = row_of(table, "n")
    assert [record.content["classifier"][trait] for record in row.records] == [now, now]
    assert (row.top1, row.statistics.mean) == (72.0, 70.5)
    (sentence,) = table.left_out
    assert f"belongs to another model: it has the {trait} {before}" in sentence
    assert "n (detection_openmmlab_n_public_s0_14.json and 1 more)" in sentence
    assert "the newest record (detection_openmmlab_n_public_s1_21.json) has" in sentence


def test_runs_from_random_weights_are_no_classifier_beside_trained_ones(tmp_path):
    for seed in range(2):
        write_model(tmp_path, "resnet50_baseline", seed, 60.0 + seed, 10 + seed)
        write_model(tmp_path, "n", seed, 40.0 + seed, 14 - seed, sha256="")
        write_model(tmp_path, "n", seed, 70.0 + seed, 20 + seed)
    table = only_table(tmp_path)
    assert row_of(table, "n").statistics.mean == 70.5
    (sentence,) = table.left_out
    assert "it has weights of the kind 'random', the newest record" in sentence
    assert "has 'trained'" in sentence


def test_classifiers_of_one_model_stand_in_one_row_and_what_is_not_known_parts_none(tmp_path):
    ways = [
        {"mean": [123.675, 116.28, 103.53]},
        {"mean": [123.67499999999998, 116.28, 103.53]},  # 255 times what another file says
        {"mean": None, "std": None, "architecture": records.UNKNOWN},
    ]
    for seed, says in enumerate(ways):
        write_model(tmp_path, "resnet50_baseline", seed, 60.0 + seed, 10 + seed, **says)
    table = only_table(tmp_path)
    assert row_of(table, "resnet50_baseline").statistics.classifiers == 3
    assert table.left_out == ()


def test_one_fine_tuning_counts_once(tmp_path):
    path = synthetic.write(tmp_path, synthetic.cell("resnet50_baseline"), 70.0)
    (tmp_path / "records" / "copy.json").write_bytes(path.read_bytes())
    table = only_table(tmp_path)
    assert row_of(table, "resnet50_baseline").statistics.fine_tunings == 1
    assert any("counts once, so remove one" in sentence for sentence in table.left_out)


def test_malformed_half_written_foreign_and_nan_records_are_named_and_the_rest_stands(
    tmp_path, capsys
):
    synthetic.write_suite(tmp_path, synthetic.PAPER_ROWS[:3], seeds=range(3), protocol="paper")
    good = json.dumps(synthetic.content(synthetic.cell("resnet50d_smooth"), 70.0))
    folder = tmp_path / "records"
    (folder / "half.json").write_text(good[: len(good) // 2])
    (folder / "foreign.json").write_text('{"package": "lock"}')
    (folder / "nan.json").write_text(good.replace('"value": 70.0', '"value": NaN'))
    (folder / "list.json").write_text(good.replace('"cell": {', '"cell": [], "x": {'))
    (folder / "classifiers").mkdir()
    (folder / "classifiers" / "bad.json").write_text('{"row": 1}')
    assert main.main(["table", "8", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for name in ("half.json", "foreign.json", "nan.json", "list.json", "classifiers/bad.json"):
        assert sum(name in line for line in out.splitlines()) == 1, name
    assert "| gain |" in out
    assert readme.text(tmp_path).count("half.json") == 1


def test_two_versions_of_a_protocol_are_named(tmp_path):
    synthetic.write_suite(tmp_path, ["resnet50_baseline"], seeds=range(2))
    synthetic.write_suite(tmp_path, ["resnet50_baseline"], seeds=range(2),
                          protocol_version="deadbeef")  # fmt: skip
    found = collect(tmp_path)
    assert len(found.gains) == 2
    (sentence,) = found.left_out
    assert "records of 2 versions, protocol 5f4dfa4e" in sentence
    assert "protocol deadbeef" in sentence
    for table in found.gains:
        assert table.setting.protocol_version in " ".join(remarks.remarks(table))


def test_one_seed_shows_no_interval_and_claims_nothing(tmp_path):
    synthetic.write_suite(tmp_path, synthetic.PAPER_ROWS, seeds=[0])
    table = only_table(tmp_path)
    shown = gain_table(table, "t")
    for row in shown.rows:
        assert row[shown.columns.index("95 % interval")].startswith("–")
        assert row[shown.columns.index("verdict")] in ("baseline", "no claim")
    assert "no verdicts" in verdict(table)
    lines = [n for n in shown.notes if "no interval and no verdict" in n]
    together = [line for line in lines if line.count("resnet50d_") == 6]
    assert len(together) == 1, "one line for all rows of one reason"


def test_rows_without_spread_and_those_without_a_baseline_say_so(tmp_path):
    for name in "abc":
        of = synthetic.cell("resnet50d_mixup", classifier=f"seed {name}", weights_id=name)
        synthetic.write(tmp_path, of, 70.0, classifier=name)
    shown = gain_table(only_table(tmp_path), "t")
    (row,) = shown.rows
    mark = row[shown.columns.index("95 % interval")].removeprefix("– ")
    assert row[shown.columns.index("simultaneous 95 %")] == f"– {mark}"
    (note,) = [note for note in shown.notes if note.startswith(mark)]
    assert "All 3 classifiers gave the same figure" in note
    assert not any("One fine-tuning" in note for note in shown.notes)

    synthetic.write_suite(tmp_path, ["resnet50d_smooth"], seeds=range(3))
    shown = gain_table(only_table(tmp_path), "t")
    (row,) = [row for row in shown.rows if row[0] == "resnet50d_smooth"]
    assert "…" in row[shown.columns.index("95 % interval")]
    mark = row[shown.columns.index("simultaneous 95 %")].removeprefix("– ")
    (note,) = [note for note in shown.notes if note.startswith(mark)]
    assert "resnet50_baseline has no finished fine-tuning" in note


def test_public_weights_speak_of_themselves_and_several_classifiers_of_the_recipe():
    weights = [in_memory("resnet50_baseline", s, 70 + s / 10) for s in range(3)]
    (table,) = families(weights)
    assert "about these weights, not about the recipe" in " ".join(remarks.remarks(table))
    recipe = []
    for classifier, seed in itertools.product("abc", range(2)):
        of = synthetic.cell("resnet50_baseline", seed=seed, classifier=f"seed {classifier}")
        value = 70 + ord(classifier) - 97 + seed / 10
        content = synthetic.content(of, value, classifier=classifier, points=2)
        recipe.append(Record(Path(f"{of.id}.json"), content))
    (table,) = families(recipe)
    assert "All figures are about the recipe." in remarks.remarks(table)
    result = table.rows[0].statistics
    assert (result.n, result.fine_tunings) == (3, 6)
    assert result.sd_between == pytest.approx(np.sqrt(1.0 - 0.005 / 2))
    assert result.sd_within == pytest.approx(np.sqrt(0.005))


def from_random_weights(seed, value):
    of = synthetic.cell("resnet50_scratch", seed=seed, scratch=True)
    content = synthetic.content(of, value, points=2)
    content["classifier"] |= {"sha256": "", "source": "", "top1": None}
    return Record(Path(f"{of.id}.json"), content)


@pytest.mark.parametrize("recipes", [False, True])
def test_runs_from_random_weights_stand_beside_rows_of_either_kind(recipes):
    """Every one draws its own weights: to call them one classifier would keep spreads apart."""
    rng = np.random.default_rng(0)
    found = [from_random_weights(seed, 60 + rng.normal(0, 0.4)) for seed in range(3)]
    for row, seed in itertools.product(("resnet50_baseline", "resnet50d_mixup"), range(3)):
        of = synthetic.cell(row, seed=0 if recipes else seed, classifier=f"seed {seed}")
        trained = str(seed) if recipes else "one"
        value = 70 + rng.normal(0, 0.4)
        content = synthetic.content(of, value, classifier=trained, points=2)
        found.append(Record(Path(f"{of.id}.json"), content))
    (table,) = families(found)
    assert table.analysis.method == "Dunnett"
    assert any("not independent" in note for note in table.analysis.notes) == recipes
    scratch = row_of(table, "resnet50_scratch").statistics
    assert (scratch.n, scratch.classifiers, scratch.fine_tunings) == (3, 0, 3)
    assert scratch.verdict == "loss"
    assert "The figures of resnet50_scratch are about training from random weights" in " ".join(
        remarks.remarks(table)
    )
    shown = gain_table(table, "t")
    (line,) = (row for row in shown.rows if row[0] == "resnet50_scratch")
    marks = {
        line[shown.columns.index(where)]
        for where in ("spread between classifiers", "spread of fine-tunings")
    }
    (reason,) = (note for note in shown.notes if "draws its own random weights" in note)
    assert marks == {f"– {reason[:3]}"}


def test_pixel_accuracy_counts_the_units_that_the_miou_beside_it_counts(tmp_path):
    rng = np.random.default_rng(0)
    own = []
    for trained, seed in itertools.product("abc", range(4)):
        of = synthetic.cell(
            "resnet50_baseline",
            "segmentation",
            seed=seed,
            classifier=f"seed {trained}",
            protocol="paper",
        )
        value = 30 + 3 * ord(trained) % 7 + rng.normal(0, 0.1)
        own.append((trained, value + 40))  # as the content of such a record has it
        synthetic.write(tmp_path, of, value, classifier=trained, points=2)
    (shown,) = paper_table(9, collect(tmp_path))
    means = [np.mean([v for of, v in own if of == trained]) for trained in "abc"]
    half = stats.t.ppf(0.975, 2) * np.std(means, ddof=1) / np.sqrt(3)
    low, high = np.mean(means) - half, np.mean(means) + half
    entry = shown.rows[0][shown.columns.index("pixAcc, ours")]
    assert entry == f"{np.mean(means):.2f} ({low:.2f} … {high:.2f})"


def test_cannot_tell_prints_what_could_have_been_found_and_what_a_gain_costs():
    rng = np.random.default_rng(3)
    (table,) = families(
        in_memory(row, seed, 70 + rng.normal(0, 1))
        for row in ("resnet50_baseline", "resnet50d_mixup")
        for seed in range(4)
    )
    result = row_of(table, "resnet50d_mixup").statistics
    assert result.verdict == "inconclusive"
    (note,) = [n for n in remarks.remarks(table) if "inconclusive" in n]
    assert f"would have found a gain of {result.detectable:.2f}" in note
    assert "a gain of +3.56 needs" in note, "the paper's gain: 81.10 - 77.54"
    assert f"{result.needed_low} to {result.needed_high} seeds" in note


NOT_THE_PAPERS = (
    "Not the paper's protocol: compare gains with the paper's gains, not absolute figures."
)


def test_agreement_is_judged_on_the_papers_data_and_protocol_only(tmp_path):
    for protocol in ("paper", "openmmlab"):
        synthetic.write_suite(tmp_path, synthetic.PAPER_ROWS, protocol=protocol)
    paper, toolbox = paper_table(8, collect(tmp_path))
    assert "protocol paper" in paper.title
    judged = [row[-1] for row in paper.rows[1:]]
    assert all(cell.startswith("agrees (") for cell in judged)
    assert all(row[-1].startswith("–") for row in toolbox.rows[1:])
    assert NOT_THE_PAPERS in toolbox.notes
    assert NOT_THE_PAPERS not in paper.notes


def test_a_protocol_as_it_is_stands_before_changes_to_it(tmp_path):
    changes = {"protocol_version": "0000"}, {"overrides": (("train_cfg.max_epochs", 1),)}
    for changed in (changes[0] | changes[1], {}, changes[0]):
        of = synthetic.cell("resnet50_baseline", **changed)
        synthetic.write(tmp_path, of, 77.0)
    assert [table.setting.overrides == "[]" for table in collect(tmp_path).gains] == [
        True, True, False]  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "judged"),
    [((("train_cfg.max_epochs", 1),), False), ((("without", ("KeptMemory",)),), True)],
)
def test_a_protocol_that_was_changed_is_not_judged_by_the_papers_gain(overrides, judged, tmp_path):
    synthetic.write_suite(tmp_path, synthetic.PAPER_ROWS, protocol="paper", overrides=overrides)
    (shown,) = paper_table(8, collect(tmp_path))
    assert all(row[-1].startswith("agrees") is judged for row in shown.rows[1:])
    assert (NOT_THE_PAPERS in shown.notes) is not judged


@pytest.mark.parametrize(
    ("changed", "command_line"),
    [
        ({"protocol": "paper"},
         "'transfer run --backbone {} --task detection --data voc0712 --protocol paper"),
        ({"protocol": "openmmlab", "precision": "bfloat16"},
         "'transfer run --backbone {} --task detection --data voc0712 --protocol openmmlab "
         "--precision bfloat16"),
        ({"protocol": "quick"},
         "'transfer run --backbone {} --task detection --data voc0712 --protocol quick "
         "--precision float32"),
        ({"protocol": "imported"}, "'transfer import WORK_DIR --backbone {} --data voc0712'"),
    ],
)  # fmt: skip
def test_an_empty_line_names_the_command_that_fills_it_in_its_own_table(
    changed, command_line, tmp_path
):
    synthetic.write_suite(tmp_path, ["resnet50_baseline"], seeds=range(2), **changed)
    (shown,) = paper_table(8, collect(tmp_path))
    of_smooth, of_cosine = (command_line.format(f"resnet50d_{one}") for one in ("smooth", "cosine"))
    assert any(f"{of_smooth.rstrip(chr(39))}'" in note for note in shown.notes)
    with_weights = of_cosine if changed["protocol"] == "imported" else f"{of_cosine} --weights"
    assert any(with_weights in note for note in shown.notes)


def test_where_settings_were_changed_only_the_suite_fills_an_empty_line(tmp_path):
    changed = {"protocol": "paper", "overrides": (("train_cfg.max_epochs", 1),)}
    synthetic.write_suite(tmp_path, ["resnet50_baseline"], seeds=range(2), **changed)
    (shown,) = paper_table(8, collect(tmp_path))
    assert not any("transfer run" in note for note in shown.notes)
    assert any("add resnet50d_smooth to the suite of the other rows." in note
               for note in shown.notes)  # fmt: skip
    assert any("'python backbones/train.py --recipe resnet50d_cosine --data IMAGENET'), then add "
               "the file to the suite" in note for note in shown.notes)  # fmt: skip


def test_a_gain_that_the_paper_lacks_is_distinguished_from_a_row_that_it_lacks(tmp_path):
    rows = ["resnet50d_ra2", "resnet50d_mixup", "resnet50_bt"]
    synthetic.write_suite(tmp_path, rows, seeds=range(2))
    tables = collect(tmp_path, against=rows[0]).gains
    shown = gain_table(next(table for table in tables if table.baseline == rows[0]), "t")
    marks = {row[0]: row[-1] for row in shown.rows}
    reasons = dict(note.split(" ", 1) for note in shown.notes if note.startswith("["))
    of_mixup, of_bt = (reasons[marks[name].removeprefix("– ")] for name in rows[1:])
    assert of_mixup == "The paper does not report mAP of resnet50d_ra2, so there is no gain."
    assert of_bt == "The paper does not report mAP of this row."


def test_an_alias_stands_in_the_papers_line_of_its_target(tmp_path):
    synthetic.write_suite(tmp_path, ["resnet50_baseline", "resnet50d_tricks"], protocol="paper")
    (shown,) = paper_table(8, collect(tmp_path))
    (line,) = [row for row in shown.rows if row[0] == "+ mixup w/o distill"]
    assert not line[shown.columns.index("mAP (11-point, IoU .5), ours")].startswith("–")
    assert len(shown.rows) == 7


def test_an_alias_takes_no_line_from_the_row_itself(tmp_path):
    rows = ["resnet50_baseline", "resnet50d_mixup", "resnet50d_tricks"]
    synthetic.write_suite(tmp_path, rows[:2], seeds=range(3), protocol="paper")
    synthetic.write_suite(tmp_path, rows[2:], protocol="paper")
    (shown,) = paper_table(8, collect(tmp_path))
    runs = shown.columns.index("fine-tunings")
    (line,) = [row for row in shown.rows if row[0] == "+ mixup w/o distill"]
    assert line[runs] == "3"
    (alias,) = [row for row in shown.rows if row[1] == "resnet50d_tricks"]
    assert alias[runs] == "5"
    assert line[-1].startswith("agrees (")
    of_paper = [i for i, name in enumerate(shown.columns) if "paper" in name and "," in name]
    (mark,) = {alias[i] for i in [*of_paper, -1]}
    text = "resnet50d_tricks is an alias of resnet50d_mixup: that line has the paper's figures."
    assert f"{mark.removeprefix('– ')} {text}" in shown.notes
    (table,) = collect(tmp_path).gains
    assert remarks.judged_agreement(table, row_of(table, "resnet50d_tricks")) is None


def test_an_alias_without_its_target_is_judged_in_the_papers_line(tmp_path):
    synthetic.write_suite(tmp_path, ["resnet50_baseline", "resnet50d_tricks"], protocol="paper")
    table = only_table(tmp_path)
    assert remarks.judged_agreement(table, row_of(table, "resnet50d_tricks")).verdict is not None


PROXIES = ("resnet50_baseline", "resnet50d_efficient")


def write_proxies(results, **changed):
    """As elder records are: of the zoo's own near relatives, with the rows' tricks."""
    synthetic.write_suite(results, [*PROXIES, "resnet50d_mixup"], protocol="paper", **changed)
    for path in records.files(records.folder(results, "")):
        content = json.loads(path.read_text())
        row = content["cell"]["backbone"]
        if row in PROXIES:
            content["classifier"] |= {"near": "proxy", "source": zoo.find(row).weights.source}
        records.write(path, content)


def test_tricks_that_public_weights_were_not_trained_with_are_claimed_nowhere(tmp_path):
    write_proxies(tmp_path)
    table = only_table(tmp_path)
    tricks = {row[0]: row[2] for row in rests_on(table, "t").rows}
    note = "step schedule, zero gamma, no warmup, decay on everything"
    assert tricks["resnet50d_efficient"] == f"public weights close to the row: {note}"
    assert tricks["resnet50d_mixup"].startswith("large batch, warmup")
    console = Console(width=400, record=True, file=io.StringIO())
    print_gains(table, console)
    shown = console.export_text()
    assert "large batch" in shown
    assert all("large batch" not in line for line in shown.splitlines() if PROXIES[1] in line)


def test_rows_whose_weights_are_near_relatives_are_named_where_agreement_is_reported(tmp_path):
    write_proxies(tmp_path)
    (shown,) = paper_table(8, collect(tmp_path))
    (named,) = [note for note in shown.notes if note.startswith("Public weights that are close")]
    assert named.endswith(
        "resnet50_baseline (torchvision's step schedule), resnet50d_efficient (step schedule, "
        "zero gamma, no warmup, decay on everything)."
    )
    agreements = [note for note in shown.notes if note.startswith("Agreement:")]
    assert all("Not of the paper's recipe: resnet50_baseline (torch" in n for n in agreements)
    assert agreements


@pytest.mark.parametrize(
    ("stated", "shown"),
    [
        ({}, "large batch, warmup, zero gamma, no bias decay, half precision, cosine"),
        ({"recipe": None, "tricks": []}, "as published"),
        ({"near": ""}, "not recorded"),
        ({"near": "", "training": {"row": "resnet50d_cosine"}},
         "large batch, warmup, zero gamma, no bias decay, half precision, cosine"),
        ({"near": "own", "recipe": None, "tricks": []}, "not recorded"),
        ({"near": "", "sha256": "", "recipe": None, "tricks": []}, "none"),
        ({"near": "", "source": "shuffled:a", "recipe": None, "tricks": []}, "none"),
    ],
)  # fmt: skip
def test_tricks_are_reported_of_weights_of_which_they_are_known(stated, shown, tmp_path):
    path = synthetic.write(tmp_path, synthetic.cell("resnet50d_cosine"), 80.0)
    content = json.loads(path.read_text())
    content["classifier"] |= stated
    records.write(path, content)
    assert rests_on(only_table(tmp_path), "t").rows[0][2] == shown


def test_rows_of_other_depths_are_compared_with_their_own_control(tmp_path):
    rows = ["resnet18_baseline", "resnet18d_mixup", "resnet50_baseline", "resnet50d_mixup",
            "timm/convnext_tiny", "my_own"]  # fmt: skip
    synthetic.write_suite(tmp_path, rows, seeds=range(3))
    tables = {t.baseline: [row.name for row in t.rows] for t in collect(tmp_path).gains}
    assert tables == {
        "resnet18_baseline": ["resnet18_baseline", "resnet18d_mixup"],
        "resnet50_baseline": ["resnet50_baseline", "resnet50d_mixup", "my_own",
                              "timm/convnext_tiny"],
    }  # fmt: skip


def write_runs(results, baseline, gains, **changed):
    """Three fine-tunings of each row, with a known gain, by a run that tells its baseline."""
    for row, gain in gains.items():
        for seed in range(3):
            of = synthetic.cell(row, seed=seed, **{"data": "own", **changed})
            synthetic.write(results, of, 60 + gain + seed / 10, points=2, baseline=baseline)


def rows_of_tables(found):
    return {t.baseline: [row.name for row in t.rows] for t in found.gains}


def test_gains_are_counted_from_the_row_that_the_run_counted_them_from(tmp_path, capsys):
    write_runs(tmp_path, "b", {"resnet50_baseline": 5, "b": 0, "m": 2})
    table = only_table(tmp_path)
    assert table.baseline == "b"
    assert [row.name for row in table.rows] == ["b", "resnet50_baseline", "m"]
    assert row_of(table, "m").statistics.gain == pytest.approx(2)
    assert row_of(table, "resnet50_baseline").statistics.gain == pytest.approx(5)
    assert main.main(["table", "8", "--results", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "protocol openmmlab, float32, against b" in shown
    assert "has no record in this setting" not in shown


def test_another_row_never_replaces_a_recorded_baseline(tmp_path):
    write_runs(tmp_path, "b", {"m": 2})
    write_runs(tmp_path, None, {"resnet50_baseline": 0, "resnet50d_mixup": 1})
    found = collect(tmp_path)
    assert rows_of_tables(found) == {
        "resnet50_baseline": ["resnet50_baseline", "resnet50d_mixup"],
        "b": ["m"],
    }
    of_b = found.gains[1]
    assert row_of(of_b, "m").statistics.gain is None
    assert "b has no record in this setting." in to_markdown(gain_table(of_b, "t"))


def test_a_row_of_runs_with_several_baselines_stands_against_each(tmp_path):
    write_runs(tmp_path, "", {"b": 0})
    write_runs(tmp_path, "b", {"m": 2, "c": 1})
    for seed in (3, 4):
        of = synthetic.cell("m", seed=seed, data="own")
        synthetic.write(tmp_path, of, 62.0 + seed / 10, points=2, baseline="c")
    found = collect(tmp_path)
    assert rows_of_tables(found) == {"b": ["b", "c", "m"], "c": ["c", "m"]}
    assert [row_of(t, "m").statistics.fine_tunings for t in found.gains] == [5, 5]
    notes = [" ".join(table.analysis.notes) for table in found.gains]
    assert "c, m: also in the table against c" in notes[0]
    assert "c, m: also in the table against b" in notes[1]
    assert any(line.startswith("Records: 11.") for line in foundations(found.gains))
    names = [pair.name for pair in compared(found.gains)]
    assert names == ["c", "m against b", "m against c"]


def test_the_papers_rows_on_the_papers_data_keep_the_papers_baseline(tmp_path):
    gains = {"resnet50_baseline": 0, "resnet50d_efficient": 1, "resnet50d_mixup": 4, "m": 3}
    write_runs(tmp_path, "resnet50d_efficient", gains, data="voc0712")
    found = collect(tmp_path)
    assert rows_of_tables(found) == {
        "resnet50_baseline": ["resnet50_baseline", "resnet50d_efficient", "resnet50d_mixup"],
        "resnet50d_efficient": ["resnet50d_efficient", "resnet50_baseline", "resnet50d_mixup", "m"],
    }
    of_paper, other = paper_table(8, found)
    (line,) = [row for row in of_paper.rows if row[1] == "resnet50d_mixup"]
    assert line[of_paper.columns.index("gain, ours")] == "+4.00"
    assert other.title.endswith("against resnet50d_efficient")


def test_gains_are_counted_from_another_row_where_that_is_asked_for(tmp_path, capsys):
    write_runs(tmp_path, "b", {"b": 0, "c": 1, "m": 3})
    asked = ["--results", str(tmp_path), "--against"]
    (table,) = collect(tmp_path, against="c").gains
    assert row_of(table, "m").statistics.gain == pytest.approx(2)
    (tmp_path / "c.toml").write_text('architecture = "resnet50"\n')
    for name in ("c", str(tmp_path / "c.toml")):
        assert main.main(["table", "8", *asked, name]) == 0
        assert "float32, against c" in capsys.readouterr().out
    assert main.main(["report", *asked, "c"]) == 0
    assert "against c" in (tmp_path / "report.html").read_text()
    capsys.readouterr()
    assert main.main(["table", "8", *asked, "d"]) == 2
    assert "No record belongs to 'd'" in capsys.readouterr().err
    assert main.main(["table", "all", "--write", *asked, "c"]) == 2
    assert "leave out --against" in capsys.readouterr().err
    for option in (["--sample"], ["--format", "csv"]):
        assert main.main(["table", "all", "--write", *asked[:-1], *option]) == 2
        assert "leave out" in capsys.readouterr().err
    (tmp_path / "README.md").write_text("# My own\n")
    assert main.main(["table", "all", "--write", *asked[:-1]]) == 2
    assert "was not written by this command" in capsys.readouterr().err
    assert (tmp_path / "README.md").read_text() == "# My own\n"


def test_a_user_row_alone_makes_a_table_without_gains():
    (table,) = families([in_memory("my_own", s, 50 + s) for s in range(3)])
    assert [row.name for row in table.rows] == ["my_own"]
    assert "No verdicts" in " ".join(remarks.remarks(table))


def test_a_row_under_two_names_with_other_seeds_cannot_be_distinguished():
    """A/A through records and table, over all 126 splits of ten runs of one row."""
    values = 78 + np.random.default_rng(5).normal(0, 0.5, 10)
    verdicts = []
    for half in itertools.combinations(range(1, 10), 4):
        first = {0, *half}
        found = [
            in_memory("resnet50d_mixup" if i in first else "resnet50d_tricks", i, float(value))
            for i, value in enumerate(values)
        ]
        (table,) = families([as_baseline(r, "resnet50d_mixup") for r in found])
        verdicts.append(row_of(table, "resnet50d_tricks").statistics.verdict)
    assert len(verdicts) == 126
    share = sum(one != "inconclusive" for one in verdicts) / 126
    assert share <= 0.079, "the largest share that docs/statistics.md states for a single row"
    assert verdicts.count("inconclusive") > 0


def as_baseline(record, name):
    """The same record with its row called the baseline, where it is of ``name``."""
    if record.cell["backbone"] != name:
        return record
    content = {**record.content, "cell": {**record.cell, "backbone": "resnet50_baseline"}}
    return Record(record.path, content)


def test_the_noise_of_the_test_set_stands_beside_the_gains_or_says_why_not(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (40, 20))
    for row, quality in (("resnet50_baseline", 0.5), ("resnet50d_mixup", 0.9),
                         ("resnet50d_smooth", 0.7)):  # fmt: skip
        for seed in range(2):
            outcomes = detections(truth, quality, rng)
            from transfer.stats.image_halves import metric_value

            value = metric_value(outcomes, "mAP 11-point")
            path = synthetic.write(tmp_path, synthetic.cell(row, seed=seed), value, points=2)
            if row != "resnet50d_smooth":
                np.savez(path.with_suffix(".npz"), **outcomes.to_arrays())
    table = only_table(tmp_path)
    found = {one.row: one for one in image_noise(table)}
    noise = found["resnet50d_mixup"].noise
    assert noise.difference == pytest.approx(row_of(table, "resnet50d_mixup").statistics.gain)
    assert noise.low < noise.difference < noise.high
    assert "there are no per-image results beside" in found["resnet50d_smooth"].reason
    total, of_images, missing = noise_sentences(table, image_noise(table))
    widths = [
        high - low
        for low, high in (
            map(float, re.search(r"\(([-\d.]+) … ([-\d.]+)\)", one).groups())
            for one in (total, of_images)
        )
    ]
    row = row_of(table, "resnet50d_mixup").statistics
    assert widths[0] > max(widths[1], row.gain_high - row.gain_low)
    assert "resnet50d_smooth" in missing
    (path,) = (tmp_path / "records").glob("*mixup*s0*.npz")
    np.savez(path, **detections(truth, 0.1, rng).to_arrays())
    assert "give" in {one.row: one.reason for one in image_noise(table)}["resnet50d_mixup"]
    path.write_bytes(b"PK\x03\x04 half")
    assert (
        "not a complete NumPy archive"
        in {o.row: o.reason for o in image_noise(table)}["resnet50d_mixup"]
    )


def test_the_published_noise_is_of_the_published_gains():
    for table in collect(ROOT / "results").gains:
        for one in image_noise(table):
            gain = row_of(table, one.row).statistics.gain
            assert one.noise.difference == pytest.approx(gain, abs=0.05), one.row


def detections(truth, quality, rng):
    image, label = np.nonzero(truth)
    correct = rng.random(len(image)) < quality
    return DetectionOutcomes(
        images=np.array([str(i) for i in range(len(truth))]), positives=truth, image=image,
        label=label, score=rng.random(len(image)), correct=correct,
        ignored=np.zeros(len(image), bool),
    )  # fmt: skip


def test_the_headline_is_drawn_anew_over_its_own_classes():
    from transfer.report.image_noise import _of_classes

    truth = np.array([[1, 2, 0], [0, 1, 3]])
    outcomes = detections(truth, 0.5, np.random.default_rng(1))
    some = _of_classes(outcomes, [2, 1])
    assert some.positives.tolist() == [[0, 2], [3, 1]]
    assert len(some.label) == (outcomes.label > 0).sum()


def test_imagenet_is_recognised_by_its_counts_and_other_images_stand_apart(tmp_path):
    for seed, top1 in ((0, 77.0), (1, 77.4), (2, 77.2)):
        synthetic.write_classifier(tmp_path, "resnet50d_efficient", seed, top1=top1,
                                   **synthetic.IMAGENET)  # fmt: skip
    synthetic.write_classifier(tmp_path, "resnet50d_efficient", top1=51.0)
    of_paper, other = paper_table(5, collect(tmp_path))
    line = of_paper.rows[3]
    assert line[of_paper.columns.index("top-1, ours")] == "77.20 (76.70 … 77.70; 3 seeds)"
    assert "tiny-imagenet-200, not ImageNet" in other.title
    assert [row[0] for row in other.rows] == ["ResNet-50-D"]
    assert "51.00 (one seed)" in other.rows[0]
    assert not any("77.16" in cell for row in other.rows for cell in row), "the paper's"


def test_only_trainings_alike_share_a_group():
    def trained(row, seed=0, **changed):
        content = synthetic.classifier(row, seed, **changed)
        return classification._trained(Path(f"{row}{seed}{changed}.json"), content)

    own = [trained("resnet50v1_baseline"), trained("resnet50d_efficient"),
           trained("resnet50d_mixup")]  # fmt: skip
    (group,), _ = classification.groups(own)
    assert len(group.rows) == 3, "half precision and 200 epochs are the recipes' own"
    short = [trained(row, epochs=30) for row in ("resnet50v1_baseline", "resnet50d_mixup")]
    found, _ = classification.groups([*own, *short])
    assert [len(group.rows) for group in found] == [2, 3]
    at_120 = [trained("resnet50d_mixup", 1, epochs=120)]
    found, _ = classification.groups([*own, *at_120])
    assert sorted(len(group.rows) for group in found) == [3, 3], (
        "rows of 120 epochs stand beside the one that was set to 120, and in their own group"
    )
    bf16 = [trained("resnet50d_efficient", 1, precision="Bfloat16OptimWrapper")]
    found, _ = classification.groups([own[1], *bf16])
    assert len(found) == 2, "float16 and bfloat16 never share a table"
    elder = [trained("resnet50d_efficient", version=1), trained("resnet50d_efficient", 1)]
    found, repeated = classification.groups(elder)
    assert repeated == []
    assert any("zero gamma in every row" in group.training for group in found)
    assert len(found) == 2, "nor do the recipes' initialisation and timm's"
    again, repeated = classification.groups([own[0], own[0]])
    assert len(again) == 1
    assert repeated == [] or "counts once" in repeated[0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, "Not trained on ImageNet; run '{}'."),
        ({"authors_code": True},
         "Not trained in this way on ImageNet; run '{} --authors-code'."),
        ({"epochs": 8}, "Not trained in this way on ImageNet; run '{}', with the other "
         "settings in the title."),
    ],
)  # fmt: skip
def test_a_classifier_that_is_missing_is_to_be_trained_as_the_others_were(
    changed, message, tmp_path
):
    synthetic.write_classifier(tmp_path, "resnet50d_efficient", **synthetic.IMAGENET, **changed)
    (shown,) = paper_table(6, collect(tmp_path))
    command = "python backbones/train.py --suite table6 --data IMAGENET"
    assert any(note.endswith(f"] {message.format(command)}") for note in shown.notes)


def test_a_classifier_that_is_missing_on_other_images_is_to_be_trained_on_them(tmp_path):
    synthetic.write_classifier(tmp_path, "resnet50v1_efficient")
    _, other = paper_table(3, collect(tmp_path))
    assert other.notes[0] == (
        "[a] Not trained on tiny-imagenet-200; run 'python backbones/train.py --recipe "
        "resnet50v1_baseline --data FOLDER'."
    )


def test_a_classifier_without_finite_figures_is_named(tmp_path):
    path = synthetic.write_classifier(tmp_path, "resnet50d_efficient")
    path.write_text(path.read_text().replace('"top1": 77.0', '"top1": NaN'))
    good, bad = classification.read_all(tmp_path)
    assert good == []
    assert "contains the number nan" in bad[0]


def test_a_classifiers_record_that_lacks_its_classes_is_named(tmp_path):
    path = synthetic.write_classifier(tmp_path, "resnet50d_efficient")
    content = json.loads(path.read_text())
    del content["classes"]
    path.write_text(json.dumps(content))
    good, bad = classification.read_all(tmp_path)
    assert good == []
    assert "KeyError: 'classes'" in bad[0]


def seconds_of_a_report(folder):
    """Processor seconds of ``transfer report`` over a folder of records."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "transfer.cli.main", "report", "--results", str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    after = os.times()
    assert done.returncode == 0, done.stderr
    return (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )


@pytest.mark.long
def test_twice_the_records_are_at_most_2_2_times_the_work(tmp_path, monkeypatch):
    """Two and four thousand records; the time of an empty folder is subtracted."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    from backbones.zoo import zoo

    rows = list(zoo.CATALOGUE)[:50]
    settings = (("voc0712", "paper"), ("voc0712", "openmmlab"), ("a", "openmmlab"))
    for folder, data_sets in ((tmp_path / "half", ("b",)), (tmp_path / "whole", ("b", "c"))):
        for copy, task in itertools.product(data_sets, ("detection", "segmentation")):
            for data, protocol in settings:
                name = f"{data}{copy}" if data == "a" else f"{data}-{copy}"
                synthetic.write_suite(folder, rows, range(7), task, data=name, protocol=protocol)
    (tmp_path / "none" / "records").mkdir(parents=True)
    # In turns, and the least of each: other processes only add to it.
    seconds = [
        [seconds_of_a_report(tmp_path / name) for name in ("none", "half", "whole")]
        for turn in range(3)
    ]
    none, half, whole = map(min, zip(*seconds, strict=True))
    assert whole - none <= 2.2 * (half - none)
    page = (tmp_path / "whole" / "report.html").read_text()
    for number in range(1, 10):
        assert f'id="table{number}"' in page


def test_a_results_folder_that_is_not_there_is_named(tmp_path):
    (sentence,) = collect(tmp_path / "reslts").left_out
    assert "reslts' is not a folder, so no record was read" in sentence


def test_cells_that_failed_are_named_as_long_as_they_have_no_record(tmp_path):
    """They do not fail by chance: the mean of the others may be of those that went well."""
    synthetic.write_suite(tmp_path, ["resnet50_baseline", "resnet50d_smooth"], seeds=range(3))
    for seed in (2, 3):
        cell = synthetic.cell("resnet50d_smooth", seed=seed)
        failed = failures.Failure(
            cell=cell.name,
            reason="the loss is not finite.",
            detail="",
            attempts=4 - seed,
            when="2026-11-22",
        )
        failures.write(records.path_of(tmp_path, cell), failed)
    (sentence,) = collect(tmp_path).left_out
    text = "failed 1 time and is in no figure: the loss is not finite."
    assert sentence == f"{cell.name} {text}"


@pytest.mark.parametrize("width", [80, 60])
def test_rows_have_their_whole_names_and_figures_on_a_narrow_screen(width, tmp_path):
    names = ["resnet50_baseline", "resnet50d_smooth", "resnet50_baseline_shuffled"]
    synthetic.write_suite(tmp_path, names, seeds=range(3), gain={names[2]: -30})
    console = Console(width=width, file=io.StringIO(), markup=False)
    print_gains(only_table(tmp_path), console)
    shown = console.file.getvalue()
    assert "…\n" not in shown
    parts = [line.split("│")[1].strip() for line in shown.splitlines() if line.startswith("│")]
    assert "".join(parts) == "".join(names)


def test_elder_records_that_counted_the_last_stage_stand_beside_new_ones(tmp_path):
    for row, architecture in (("resnet50_baseline", "resnet50"), ("resnet50d_mixup", "resnet50d")):
        for seed in range(3):
            cell = synthetic.cell(row, seed=seed, protocol="paper")
            content = synthetic.content(cell, 70.0 + seed)
            config = json.loads(content["config"]["json"])
            stage = {"type": "RoIStage", "architecture": architecture, "weights": True}
            config["model"]["roi_head"] = {"shared_head": stage}
            elder = f"{architecture} as it was counted" if seed else None
            content["config"] = records.config_entry(config)
            content["config"]["comparable_sha256"] = elder or records.config_entry(config)["sha256"]
            records.write(records.path_of(tmp_path, cell), content)
    table = only_table(tmp_path)
    assert [row.statistics.fine_tunings for row in table.rows] == [3, 3]
    assert table.left_out == ()


def rows_with(values):
    """One table of rows with the given figures, the first of which is the baseline."""
    seen = [in_memory(row, s, v) for row, vs in values.items() for s, v in enumerate(vs)]
    (table,) = families(seen, next(iter(values)))
    return table


def test_no_gain_beyond_what_a_percentage_allows_is_said_to_be_detectable():
    values = {"resnet50_baseline": [50.0, 58.0], "resnet50d_mixup": [52.0, 66.0]}
    (line,) = [one for one in remarks.remarks(rows_with(values)) if "inconclusive" in one]
    figures = [float(word) for word in re.findall(r"\d+\.\d\d", line)]
    assert max(figures) <= 54.0
    assert "percentage allows" in line


def test_the_shares_of_a_tables_verdicts_are_of_all_its_rows():
    values = {
        "resnet50_baseline": [70.0, 70.2, 70.4],
        "resnet50d_mixup": [75.0, 75.2, 75.5],
        "resnet50d_smooth": [75.0],
    }
    sentence = verdict(rows_with(values))
    assert "1 of 2 rows gains" in sentence
    assert "1 of 2 rows without a verdict" in sentence
