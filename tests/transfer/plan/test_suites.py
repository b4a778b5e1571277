"""Suites: their files, their cells, their cost, and running them through failures and kills."""

import csv
import io
import json
import math
import multiprocessing
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from backbones.common.errors import UserError
from backbones.runtime import stopping, storage
from backbones.weights.reading import read_saved
from backbones.weights.safetensors_header import read_own_metadata
from backbones.zoo import zoo
from backbones.zoo.sizes import COSTS, size_of
from tests.support import chaos_suite, processes, synthetic
from tests.support.suites import (
    QUICK,
    EventLog,
    classifier,
    plan_of,
    quick_suite,
    schedule,
    suite_file,
    tasks_of,
)
from transfer import run
from transfer.cli.dry_run import print_costs
from transfer.driver import arguments
from transfer.driver.checks import require_all_writable
from transfer.plan import suites
from transfer.plan.durations import Durations
from transfer.plan.request import Request, make_plan
from transfer.records import failures, lease, records
from transfer.records.cells import Task
from transfer.records.provenance import machine
from transfer.scheduling.process import WorkerProcess, environment_of
from transfer.scheduling.schedule import Job, Tally, record_path
from transfer.scheduling.view import SuiteView

ROOT = Path(__file__).resolve().parents[3]


# --- Files ----------------------------------------------------------------------------------------


def test_the_projects_suites_are_known_and_hold_what_they_say():
    assert {"quick", "paper", "lr-sweep"} <= set(suites.names())
    assert "table6" not in suites.names(), "that one trains classifiers"
    paper = suites.load("paper")
    with (ROOT / "results" / "paper" / "table8.csv").open() as file:
        lines = [line for line in file if not line.startswith("#")]
    rows = [row["row"] for row in csv.DictReader(lines)]
    assert [row.backbone for row in paper.rows] == rows
    assert paper.protocol == "paper"
    assert {row.seeds for row in paper.rows} == {(0, 1, 2, 3, 4)}
    quick = suites.load("quick")
    assert len(quick.rows) == 3
    assert {row.seeds for row in quick.rows} == {(0, 1, 2)}


def test_epochs_are_one_number_for_both_tasks_or_one_for_each(tmp_path):
    rows = 'rows = ["a"]\n'
    both = suites.load(suite_file(tmp_path, QUICK + rows + "epochs = 8")).settings
    assert both == {"detection": ((("epochs", 8),),), "segmentation": ((("epochs", 8),),)}
    one = suites.load(suite_file(tmp_path, QUICK + rows + "epochs = { detection = 8 }")).settings
    assert one == {"detection": ((("epochs", 8),),), "segmentation": ((),)}
    varied = suites.load(suite_file(tmp_path, QUICK + rows + "[vary]\nepochs = [4, 8]")).settings
    assert varied["detection"] == ((("epochs", 4),), (("epochs", 8),))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('rows = ["a"', "is not valid TOML"),
        ("\x00", "is not valid TOML"),
        ('rows = ["resnet50_baseline"]', 'must set kind = "transfer"'),
        ('kind = "classification"\nrows = []', "backbones/train.py"),
        (QUICK, "'rows' must be a non-empty list of rows"),
        (QUICK + "rows = []", "'rows' must be a non-empty list of rows"),
        (QUICK + "rows = [3]", "'rows' must be names of rows"),
        (QUICK + 'rows = ["a"]\nsedes = [1]', "unknown key 'sedes': did you mean seeds"),
        (QUICK + 'rows = [{backbone = "a", seed = [1]}]', "unknown key 'seed' of row 'a'"),
        (QUICK + 'rows = ["a"]\nseeds = [1, 1]', "lists 1 twice in 'seeds'"),
        (QUICK + 'rows = ["a"]\nseeds = [-1]', "'seeds' must be integers from 0"),
        (QUICK + 'rows = ["a"]\nseeds = [4294967296]', "from 0 to 4294967295"),
        (QUICK + 'rows = ["a"]\nseeds = [true]', "'seeds' must be integers from 0"),
        (QUICK + 'rows = ["a"]\nseeds = 3', "'seeds' must be a non-empty list"),
        (QUICK + 'rows = ["a"]\nepochs = 0', "'epochs' must be an integer of at least 1"),
        (QUICK + 'rows = ["a"]\nepochs = 2.5', "'epochs' must be an integer of at least 1"),
        (QUICK + 'rows = ["a"]\nepochs = { detektion = 2 }', "'epochs' must be a number, or one"),
        (QUICK + 'rows = ["a"]\n[vary]\nepochs = [2, "x"]', "epochs' must be an integer"),
        (
            QUICK + 'rows = ["a"]\nepochs = 2\n[overrides]\n"train_cfg.max_epochs" = 2',
            "sets both 'epochs' and 'train_cfg.max_epochs'",
        ),
        (QUICK + 'rows = ["a"]\nepochs = 2\n[vary]\nepochs = [2, 3]', "does not fix"),
        (QUICK + 'rows = ["a"]\ntasks = ["detektion"]', "'tasks' must be a list of detection"),
        (QUICK + 'rows = ["a"]\n[overrides]\na.b = 1', "put dotted names in quotes"),
        (QUICK + 'rows = ["a"]\n[overrides.detektion]\n"a.b" = 1', "detection or segmentation"),
        (QUICK + 'rows = ["a"]\n[vary]\nseeds = [0, 1]', "'seeds' in 'vary', but"),
        (QUICK + 'rows = ["a"]\n[overrides]\nmargin = 1', "the file, above [overrides]"),
        (
            QUICK + 'rows = ["a"]\n[overrides]\n"a.b" = 1979-05-27',
            "must be a string, a finite number",
        ),
        (QUICK + 'rows = ["a"]\n[overrides]\n"a.b" = nan', "a finite number"),
        (QUICK + 'rows = ["a"]\n[vary]\n"a.b" = [1, [inf]]', "a finite number"),
        (QUICK + 'rows = ["a"]\n[overrides]\nwithout = ["KeepMemory"]', "KeptMemory"),
        (QUICK + 'rows = ["a"]\n[overrides]\nwithout = "FusedSgd"', "must be a list of parts"),
        (QUICK + 'rows = ["a"]\n[vary]\nwithout = ["FusedSgd"]', "must be a list of parts"),
        (
            QUICK + 'rows = ["a"]\n[overrides]\n"model.type" = "subprocess.Popen"',
            "which is not an allowed class",
        ),
        (
            QUICK + 'rows = ["a"]\n[vary.detection]\n"a.type" = ["SGD", "os.system"]',
            "which is not an allowed class",
        ),
        (QUICK + 'rows = ["a"]\n[vary]\n"a.b" = 1', "must be a non-empty list of values"),
        (QUICK + 'rows = ["a"]\n[vary]\n"a.b" = [1, 1]', "lists 1 twice"),
        (
            QUICK + 'rows = ["a"]\n[vary]\n' + "".join(f'"a.b{i}" = [1, 2]\n' for i in range(60)),
            "'vary' must be at most 1,000 combinations",
        ),
        (
            QUICK + 'rows = ["a"]\n[overrides]\n' + "".join(f'"a.b{i}" = 1\n' for i in range(1001)),
            "'overrides' must be at most 1,000 settings",
        ),
        (
            QUICK + f'rows = ["a", "b"]\nseeds = {list(range(60_000))}',
            "asks for 240,000 runs, more than the 100,000",
        ),
        (QUICK + 'rows = ["a"]\na = ' + "9" * 5000, "an integer of more than 64 bits"),
        (QUICK + "rows = " + "[" * 100_000, "nests more than 64 levels"),
        (QUICK.replace("float32", "float8") + 'rows = ["a"]', "'precision' must be auto"),
        (QUICK.replace('"sample"', "{ boxes = 'a' }") + 'rows = ["a"]', "'data' must be"),
    ],
)
def test_a_malformed_suite_is_named_with_what_is_wrong(text, sentence, tmp_path):
    with pytest.raises(UserError, match="suite") as error:
        suites.load(suite_file(tmp_path, text))
    assert sentence in str(error.value)
    assert "own.toml" in str(error.value)


def is_suite_or_sentence(read):
    try:
        return bool(read().rows)
    except UserError as error:
        return "own.toml" in str(error)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode()))
def test_any_bytes_are_a_suite_or_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("suite") / "own.toml"
    path.write_bytes(b'kind = "transfer"\nrows = ["a"]\n' + content)
    assert is_suite_or_sentence(lambda: suites.load(str(path)))


KEYS = ("tasks", "data", "protocol", "precision", "seeds", "rows", "overrides", "vary", "baseline")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_entries_of_any_kind_are_a_suite_or_a_sentence(content):
    reader = suites._Reader(Path("own.toml"))
    assert is_suite_or_sentence(lambda: reader.suite(content))


@pytest.mark.parametrize(
    ("suite", "sentence"),
    [("quik", "did you mean quick"), ("none.toml", "There is no suite"), ("table6", "train.py")],
)
def test_an_unknown_suite_is_one_sentence_and_exit_code_2(suite, sentence, here, capsys):
    assert run.main(["--suite", suite, "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--suite", "quick", "--weights", "a.pth"], "--weights only works with --backbone"),
        (["--backbone", "resnet18_baseline", "--retry", "2"], "--retry only works with --suite"),
        (["--suite", "quick", "--jobs", "0"], "--jobs must be 1 or more"),
        (["--suite", "quick", "--seeds", "0"], "--seeds must be 1 or more"),
        (["--suite", "quick", "--looks", "3,5"], "--looks only works with --until-decided"),
        (["--suite", "quick", "--margin", "0"], "--margin takes a number of points"),
        (["--suite", "quick", "--until-decided", "--seeds", "3"], "leave out --seeds"),
        (["--suite", "quick", "--until-decided", "--looks", "5,3"], "increasing numbers"),
        (["--backbone", "resnet18_scratch", "--until-decided"], "only works with --suite"),
        (["--suite", "quick", "--probe"], "--probe only works with --dry-run"),
        (
            ["--suite", "quick", "--state-storage", "foo://x"],
            "No checkpoint can be copied to 'foo://x'",
        ),
        (
            ["--suite", "quick", "--state-storage", "foo::memory://x"],
            "No checkpoint can be copied to 'foo::memory://x'",
        ),
        (["--suite", "quick", "--protocol", "paper-long"], "'paper-long' does not support segm"),
        (["--suite", "quick", "--only", "zzz", "--dry-run"], "matches --only 'zzz'; its runs"),
    ],
)
def test_arguments_that_do_not_fit_are_named(arguments, sentence, here, capsys):
    assert run.main(arguments) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("address", ["file:///a", "/a/b", "memory://x", "simplecache::memory://x"])
def test_addresses_that_are_known_are_taken(address):
    storage.require_known(address)


def test_a_missing_package_for_curves_is_named(here, capsys, monkeypatch):
    monkeypatch.setattr(arguments.importlib.util, "find_spec", lambda name: None)
    assert run.main(["--suite", "quick", "--wandb"]) == 2
    assert "pip install wandb" in capsys.readouterr().err


# --- Cells ----------------------------------------------------------------------------------------


def test_cells_come_task_by_task_and_seed_by_seed(here):
    text = QUICK + 'seeds = [4, 2]\nrows = ["resnet18_scratch", "resnet18_baseline"]'
    plan = plan_of(text, here)
    values = [(cell.task, cell.seed, cell.backbone) for cell in plan.cells]
    assert values == [
        (task, seed, row)
        for task in ("detection", "segmentation")
        for seed in (2, 4)
        for row in ("resnet18_scratch", "resnet18_baseline")
    ]
    assert len({cell.id for cell in plan.cells}) == 8
    assert {cell.precision for cell in plan.cells} == {"float32"}


def test_a_cell_of_a_suite_is_the_cell_of_a_single_run(here):
    """So that what was run before with --backbone is not run again."""
    single = make_plan(
        Request(
            backbone="resnet18d_mixup",
            tasks=("detection", "segmentation"),
            against="auto",
            data="sample",
            data_root=here,
            protocol="auto",
            weights="auto",
            precision="float32",
            seed=3,
            classifier_seed=1,
        )
    )
    rows = '["resnet18_baseline", "resnet18d_mixup"]'
    suite = plan_of(QUICK + f"seeds = [3]\nclassifier_seeds = [1]\nrows = {rows}", here)
    assert {cell.id for cell in suite.cells} == {cell.id for cell in single.cells}


def test_the_command_line_narrows_a_suite(here):
    text = QUICK + 'seeds = [0, 7]\nrows = ["resnet18_scratch", "resnet18_baseline"]'
    assert {c.seed for c in plan_of(text, here, seeds=3).cells} == {0, 1, 2}
    assert {c.task for c in plan_of(text, here, tasks=("detection",)).cells} == {"detection"}
    chosen = plan_of(text, here, only="segm*scratch*s7*").cells
    assert [(c.task, c.backbone, c.seed) for c in chosen] == [
        ("segmentation", "resnet18_scratch", 7)
    ]
    assert plan_of(text, here, only=chosen[0].id).cells == chosen


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ('["resnet18_baselin"]', "did you mean resnet18_baseline"),
        ('["resnet18_baseline", "resnet18_baseline"]', "twice"),
        ('["resnet18_baseline", {backbone = "resnet18_baseline", seeds = [0, 1]}]', "twice"),
    ],
)
def test_an_unknown_row_and_a_repeated_cell_are_named(rows, sentence, here):
    with pytest.raises(UserError, match=sentence):
        plan_of(QUICK + f"rows = {rows}", here)


def boxes_alone(folder):
    """A data set's file with boxes and no masks, beside the suite's."""
    lists = folder / "fruit" / "2024" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    for split in ("train", "val"):
        (lists / f"{split}.txt").write_text("1\n")
    (folder / "boxes.toml").write_text(
        'name = "fruit"\nroot = "fruit"\n[detection]\nclasses = ["apple"]\n'
        'train = [{ folder = "2024", split = "train" }]\n'
        'test = [{ folder = "2024", split = "val" }]\n'
    )
    return 'kind = "transfer"\ndata = "boxes.toml"\nrows = ["resnet18_scratch"]\n'


def test_data_for_one_task_are_enough_for_a_suite(here):
    text = boxes_alone(here)
    plan = plan_of(text, here)
    assert [cell.task for cell in plan.cells] == ["detection"]
    assert "'boxes' has no data for segmentation, so this task is left out." in plan.remarks
    named = plan_of(text + 'tasks = ["detection"]\n', here)
    assert (named.cells, len(named.remarks)) == (plan.cells, len(plan.remarks) - 1)
    with pytest.raises(UserError, match=r"does not support segmentation; .* tasks = \[\"detection"):
        plan_of(text, here, tasks=("segmentation",))
    with pytest.raises(UserError, match=r"rows do not support segmentation"):
        plan_of(text + 'tasks = ["detection"]\n', here, tasks=("segmentation",))


def test_seeds_of_the_command_line_take_the_place_of_those_of_rows(here):
    rows = """rows = [
  { backbone = "resnet18_scratch", seeds = [0, 1] },
  { backbone = "resnet18_scratch", seeds = [2] },
]
"""
    assert [cell.seed for cell in plan_of(QUICK + rows, here).cells] == [0, 1, 2] * 2
    cells = plan_of(QUICK + rows, here, seeds=2, tasks=("detection",)).cells
    assert [cell.seed for cell in cells] == [0, 1]


def test_a_baseline_that_is_no_row_is_named(here):
    with pytest.raises(UserError, match=r"baseline 'resnet18' .* not one of its rows"):
        plan_of(QUICK + 'baseline = "resnet18"\nrows = ["resnet18_scratch"]', here)


def test_overrides_are_the_same_for_all_rows_and_variations_are_tables_of_their_own(here):
    text = (
        QUICK
        + """rows = ["resnet18_scratch", "resnet18d_scratch"]
[overrides]
"train_cfg.max_epochs" = 2
[overrides.segmentation]
"train_cfg.max_epochs" = 3
[vary.detection]
"optim_wrapper.optimizer.lr" = [0.1, 0.2]
"model.x" = [[1, 2], [3]]
"""
    )
    plan = plan_of(text, here)
    masks = {cell.overrides for cell in plan.cells if cell.task == "segmentation"}
    assert masks == {(("train_cfg.max_epochs", 3),)}
    boxes = [cell for cell in plan.cells if cell.task == "detection"]
    assert len(boxes) == 2 * 4
    variations = {
        (dict(c.overrides)["optim_wrapper.optimizer.lr"], dict(c.overrides)["model.x"])
        for c in boxes
    }
    assert variations == {(lr, x) for lr in (0.1, 0.2) for x in ((1, 2), (3,))}
    assert {dict(cell.overrides)["train_cfg.max_epochs"] for cell in boxes} == {2}
    assert len({cell.id for cell in plan.cells}) == len(plan.cells)


def test_what_a_suite_says_in_vain_is_reported(here):
    rows = 'rows = ["resnet18_scratch"]\n'
    both = '[overrides]\n"train_cfg.max_epochs" = 4\n[vary]\n"train_cfg.max_epochs" = [2, 3]\n'
    with pytest.raises(UserError, match="a setting that 'overrides' does not fix"):
        plan_of(QUICK + rows + both, here)
    named = 'rows = [{ backbone = "resnet18_scratch", classifiers = ["a.pth"] }]\n'
    with pytest.raises(UserError, match="which starts from random weights: remove them"):
        plan_of(QUICK + named, here)
    one = QUICK.replace('data = "sample"', 'data = { detection = "sample" }')
    plan = plan_of(one + rows, here)
    assert {cell.task for cell in plan.cells} == {"detection"}
    assert "The suite names no data set for segmentation, so this task is left out." in plan.remarks


def test_a_length_that_is_changed_without_its_schedule_is_reported(here):
    rows = 'rows = ["resnet18_scratch"]\n'
    text = QUICK + rows + '[overrides.detection]\n"train_cfg.max_epochs" = 4\n'
    (remark,) = plan_of(text, here).remarks
    assert remark.startswith("Detection: the suite sets train_cfg.max_epochs but not param_")
    assert plan_of(text, here, tasks=("segmentation",)).remarks == ()
    text += '"param_scheduler.1.end" = 4\n"param_scheduler.1.T_max" = 3\n'
    assert plan_of(text, here).remarks == ()


def test_rows_of_ones_own_are_named_from_the_suites_folder(here, tmp_path_factory, monkeypatch):
    (here / "rows").mkdir()
    (here / "rows" / "mine.toml").write_text('architecture = "resnet18"\nweights = "random"\n')
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    plan = plan_of(QUICK + 'baseline = "rows/mine.toml"\nrows = ["rows/mine.toml"]', here)
    assert (plan.baseline, {cell.backbone for cell in plan.cells}) == ("mine", {"mine"})


def test_two_rows_of_one_name_are_refused_and_one_row_named_twice_is_not(here):
    """Else the one would be fine-tuned with the other's preprocessing, and stand as the other."""
    for folder, mean in (("a", 0.4), ("b", 0.5)):
        (here / folder).mkdir()
        text = f'architecture = "resnet18"\nweights = "random"\nmean = [{mean}, {mean}, {mean}]\n'
        (here / folder / "model.toml").write_text(text)
    both = QUICK + 'rows = ["a/model.toml", "b/model.toml"]'
    with pytest.raises(UserError, match=r"a/model.toml' and '.*b/model.toml' are both called 'mod"):
        plan_of(both, here)
    ours = here / "b" / "model.toml"
    ours.write_text('name = "ours"\n' + ours.read_text())
    assert {cell.backbone for cell in plan_of(both, here).cells} == {"model", "ours"}
    again = '"b/model.toml", "resnet18_scratch", "b/model.toml_scratch"'
    assert list(plan_of(QUICK + f"rows = [{again}]", here, seeds=1).rows) == [
        "ours",
        "resnet18_scratch",
    ]


def test_rows_without_public_weights_are_reported_and_the_rest_goes_on(here):
    data = chaos_suite.write_suite(here, here, rows=["a"], seeds=[0]).with_name("tiny.toml")
    (here / "sample").symlink_to(Path(os.environ["TRANSFER_CACHE"]) / "sample")
    data.write_text(data.read_text().replace(json.dumps(str(here)), '"sample"'))
    text = 'kind = "transfer"\ndata = "tiny.toml"\nprotocol = "quick"\nrows = '
    plan = plan_of(text + '["resnet50_baseline", "resnet50d_cosine"]', here)
    assert {cell.backbone for cell in plan.cells} == {"resnet50_baseline"}
    (remark,) = plan.remarks
    assert "resnet50d_cosine needs training" in remark
    assert "--recipe resnet50d_cosine" in remark
    with pytest.raises(
        UserError, match=r"No run of the suite 'own' can start. resnet50d_cosine"
    ) as raised:
        plan_of(text + '["resnet50d_cosine"]', here)
    assert "continues" not in str(raised.value)
    assert str(raised.value).count("needs training") == 1, "once for both tasks"


def test_each_classifier_of_a_row_is_fine_tuned(here, monkeypatch):
    monkeypatch.setenv("TRANSFER_CACHE", str(here / "cache"))
    for seed in range(3):
        classifier(here / "cache" / "classifiers" / f"mixup_s{seed}.safetensors", seed)
    text = (
        QUICK
        + """tasks = ["detection"]
rows = [
  {backbone = "resnet18d_mixup", classifiers = "mixup_s*.safetensors"},
  {backbone = "resnet18d_mixup", classifiers = ["mixup_s1.safetensors"], seeds = [3, 4]},
]"""
    )
    cells = plan_of(text, here).cells
    values = [(cell.classifier, cell.seed) for cell in cells]
    assert sorted(values) == [
        ("seed 0", 0),
        ("seed 1", 1),
        ("seed 1", 3),
        ("seed 1", 4),
        ("seed 2", 2),
    ]
    assert len({cell.weights_id for cell in cells}) == 3
    beside = here / "mixup_s0.safetensors"
    classifier(beside, 7)
    cells = plan_of(text, here, only="seed7").cells
    assert [cell.weights for cell in cells] == [str(beside)], "beside the suite's file comes first"


@pytest.fixture
def three_classifiers(here, monkeypatch):
    """A suite of one row with three classifiers, given the line with its seeds."""
    monkeypatch.setenv("TRANSFER_CACHE", str(here / "cache"))
    for seed in range(3):
        classifier(here / "cache" / "classifiers" / f"mixup_s{seed}.safetensors", seed)
    row = '{backbone = "resnet18d_mixup", classifiers = "mixup_s*.safetensors"}'
    return lambda seeds: f'{QUICK}tasks = ["detection"]\n{seeds}\nrows = [{row}]'


@pytest.mark.parametrize(
    ("seeds", "choice", "dealt"),
    [
        ("", {}, {0: {0}, 1: {1}, 2: {2}}),
        ("seeds = [5]", {}, {0: {5}, 1: {5}, 2: {5}}),
        ("seeds = [5, 6, 7, 1, 2, 3]", {}, {0: {5, 1}, 1: {6, 2}, 2: {7, 3}}),
        ("seeds = [5]", {"seeds": 2}, {0: {0, 3}, 1: {1, 4}, 2: {2, 5}}),
        ("", {"units": 2}, {0: {0}, 1: {1}}),
    ],
)
def test_no_classifier_has_another_ones_seed(three_classifiers, here, seeds, choice, dealt):
    found = {}
    for cell in plan_of(three_classifiers(seeds), here, **choice).cells:
        found.setdefault(int(cell.classifier[-1]), set()).add(cell.seed)
    assert found == dealt


@pytest.mark.parametrize(("seeds", "choice"), [("seeds = [0, 1]", {}), ("", {"units": 4})])
def test_fewer_seeds_or_classifiers_than_needed_are_refused(three_classifiers, here, seeds, choice):
    with pytest.raises(UserError, match="3 classifiers"):
        plan_of(three_classifiers(seeds), here, **choice)


@pytest.mark.parametrize("margin", ["0", "-1", '"1"', "true", "101"])
def test_a_margin_is_a_number_of_points(here, margin):
    text = f'{QUICK}margin = {margin}\nrows = ["resnet18_scratch"]'
    with pytest.raises(UserError, match="'margin' must be"):
        plan_of(text, here)


def test_the_margin_of_a_suite_reaches_its_plan(here):
    text = QUICK + 'margin = 0.5\nrows = ["resnet18_scratch"]'
    assert plan_of(text, here).margin == 0.5
    assert plan_of(QUICK + 'rows = ["resnet18_scratch"]', here).margin is None


@pytest.mark.parametrize("text", ["3", '"a\\nb"', f'"{"x" * 101}"', '"a"\n[vary]\n"a.b" = [1, 2]'])
def test_a_variant_is_a_line_of_text_and_names_one_set_of_settings(here, text):
    with pytest.raises(UserError, match="'variant' must be"):
        plan_of(f'{QUICK}rows = ["resnet18_scratch"]\nvariant = {text}', here)


def test_the_variant_of_a_suite_names_its_runs_and_changes_no_identity(here):
    plain = QUICK + 'rows = ["resnet18_scratch"]'
    named = plan_of(f'{plain}\nvariant = "gentle"', here)
    assert named.variant == "gentle"
    assert [cell.id for cell in named.cells] == [cell.id for cell in plan_of(plain, here).cells]


def test_a_classifier_of_another_row_is_refused_and_a_missing_one_reported(here):
    given = '{backbone = "resnet18_baseline", classifiers = "c*.safetensors"}'
    row = f'rows = ["resnet18_scratch", {given}]'
    plan = plan_of(QUICK + row, here)
    assert {cell.backbone for cell in plan.cells} == {"resnet18_scratch"}
    assert "no classifier matches 'c*.safetensors'" in plan.remarks[0]
    with pytest.raises(
        UserError, match=r"'\*\*c.*' is not a valid file pattern|No run of the suite"
    ):
        plan_of(QUICK + f"rows = [{given.replace('c*', '**c*')}]", here)
    classifier(here / "c0.safetensors", 0)
    with pytest.raises(UserError, match=r"'resnet18d_mixup', not as 'resnet18_baseline'"):
        plan_of(QUICK + row, here)


def single_run(backbone, path, folder):
    """The plan of a single run with --weights."""
    return make_plan(synthetic.request(backbone, folder, tasks=("detection",), weights=str(path)))


@pytest.mark.parametrize("row", ["resnet18_baseline", "resnet18_baseline_shuffled"])
def test_a_single_run_refuses_a_classifier_of_another_row_as_a_suite_does(row, here):
    classifier(here / "c0.safetensors", 0)
    of = row.removesuffix("_shuffled")
    with pytest.raises(UserError, match=f"was trained as 'resnet18d_mixup', not as '{of}'"):
        single_run(row, here / "c0.safetensors", here)


@pytest.mark.parametrize("row", ["mobilenet_baseline", "mine.toml"])
def test_a_classifier_of_another_network_is_refused_though_its_names_are_the_same(row, here):
    """Until the rows had the paper's activations, they were timm's mobilenetv1_100."""
    (here / "mine.toml").write_text('architecture = "mobilenetv1"\n')
    file = here / "elder.safetensors"
    classifier(file, 0, "mobilenet_baseline", architecture="mobilenetv1_100")
    with pytest.raises(UserError, match=r"'mobilenetv1_100', but .* has 'mobilenetv1': "):
        single_run(row, file, here)


@pytest.mark.parametrize("trained", ["resnet18d_mixup", "resnet18d_tricks"])
@pytest.mark.parametrize(
    "row",
    ["resnet18d_mixup", "resnet18d_tricks", "resnet18d_tricks_shuffled", "mine.toml"],
)
def test_a_classifier_is_of_its_row_under_each_name_and_of_any_row_of_ones_own(row, trained, here):
    (here / "mine.toml").write_text('architecture = "resnet18d"\n')
    file = here / "c0.safetensors"
    classifier(file, 0, trained)
    entry = f'{{backbone = "{row}", classifiers = "c0.safetensors"}}'
    (in_suite,) = plan_of(QUICK + f'tasks = ["detection"]\nrows = [{entry}]', here).cells
    (alone,) = (c for c in single_run(row, file, here).cells if not c.scratch)
    assert in_suite.weights.endswith(str(file))
    assert in_suite.weights == alone.weights


def test_of_several_classifiers_the_missing_one_is_named_and_the_others_go_on(here):
    classifier(here / "c0.safetensors", 0)
    row = '{backbone = "resnet18d_mixup", classifiers = ["c0.safetensors", "c1.safetensors"]}'
    plan = plan_of(QUICK + f'tasks = ["detection"]\nrows = [{row}]', here)
    assert [cell.classifier for cell in plan.cells] == ["seed 0"]
    assert "resnet18d_mixup needs training: no classifier matches 'c1" in plan.remarks[0]


@given(st.binary(max_size=60))
def test_the_header_of_any_bytes_is_a_table_or_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("header") / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(content)) + content)
    try:
        metadata = read_own_metadata(path)
    except UserError as error:
        metadata = {"sentence": str(error)}
    assert isinstance(metadata, dict)
    assert "not a complete safetensors file" in metadata.get(
        "sentence", "not a complete safetensors file"
    )


def test_a_header_that_claims_more_than_the_file_holds_is_not_allocated(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(UserError, match="not a complete safetensors file"):
        read_own_metadata(path)


def test_a_header_longer_than_weights_need_is_refused_by_both_readers(tmp_path):
    """Two million tensors without values take minutes to read, and over a gigabyte."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 9 << 20) + b"{}".ljust(9 << 20))
    for read in (read_own_metadata, lambda p: read_saved(p, p.suffix)):
        with pytest.raises(UserError, match="a header of 9,437,184 bytes"):
            read(path)


# --- Costs ----------------------------------------------------------------------------------------


def test_the_table_of_costs_has_every_network_and_is_what_is_computed():
    from backbones.zoo.cost import classifier_cost

    assert all(size_of(row.architecture) for row in zoo.CATALOGUE.values())
    for architecture in ("resnet18d", "resnet50v1", "mobilenetv1"):
        cost = classifier_cost(architecture)
        size = size_of(architecture)
        assert (size.parameters, size.multiply_adds) == (cost.parameters, cost.multiply_adds)


@pytest.mark.slow
def test_the_whole_table_of_costs_is_what_is_computed():
    from backbones.zoo.cost import write_table

    computed = io.StringIO()
    write_table(computed)
    assert COSTS.read_text() == computed.getvalue()


def record_of(cell, seconds, **changes):
    """A record of a cell as far as costs are concerned."""
    content = {
        "cell": {**vars(cell), "overrides": list(cell.overrides), "id": cell.id},
        "seconds": {"start_up": 0.0, "train": seconds, "evaluate": 0.0},
        "hardware": machine(),
        "memory": {"host": 3 << 30},
        **changes,
    }
    return records.Record(Path("a.json"), json.loads(json.dumps(content)))


def test_durations_come_from_records_of_the_same_hardware_and_setting(here):
    text = QUICK + 'rows = ["resnet18_scratch", "resnet50_scratch"]\ntasks = ["detection"]'
    small, large = plan_of(text, here).cells
    durations = Durations()
    other = {**machine(), "cpu": "another"}
    durations.add([record_of(small, 999.0, hardware=other)])
    assert durations.of(small) is None
    durations.add([record_of(small, 100.0), record_of(small, 110.0)])
    assert durations.of(small).seconds == pytest.approx(105.0)
    assert durations.of(small).same_network
    assert durations.of(small).host_bytes == 3 << 30
    scaled = durations.of(large)
    ratio = size_of("resnet50").multiply_adds / size_of("resnet18").multiply_adds
    assert scaled.seconds == pytest.approx(105.0 * ratio)
    assert not scaled.same_network
    assert durations.total([small, large]) == (pytest.approx(105.0 * (1 + ratio)), 0)
    longer = plan_of(text + '\n[overrides]\n"train_cfg.max_epochs" = 12', here).cells
    assert durations.of(longer[0]) is None, "another setting takes another time"
    durations.add_probes([record_of(small, 1.0), record_of(large, 7.0)])
    assert durations.of(small).seconds == pytest.approx(105.0), "a record outweighs a probe"
    assert durations.of(large).seconds == pytest.approx(7.0)


def test_a_time_beside_other_runs_is_not_taken_for_one_alone(here):
    text = QUICK + 'rows = ["resnet18_scratch", "resnet50_scratch"]\ntasks = ["detection"]'
    small, large = plan_of(text, here).cells
    memory = {"host": 1 << 30, "gpu": 5 << 30}
    durations = Durations()
    durations.add([record_of(small, 400.0, side_by_side=3.9, memory=memory)])
    assert durations.of(small).seconds == 400, "there is no other"
    durations.add([record_of(small, 100.0), record_of(small, 110.0, side_by_side=1.0)])
    assert durations.of(small).seconds == pytest.approx(105.0)
    assert durations.of(small).gpu_bytes == 5 << 30, "memory is that of all"
    durations.expect(5)
    assert durations.of(small).seconds == 400
    ratio = size_of("resnet50").multiply_adds / size_of("resnet18").multiply_adds
    assert durations.of(large).gpu_bytes == pytest.approx(ratio * (5 << 30)), "a larger network"
    of_large = Durations()
    of_large.add([record_of(large, 400.0, memory=memory)])
    assert of_large.of(small).gpu_bytes == 5 << 30, "a smaller network may take as much"


ODD_TIMES = {
    "nothing of the cell": {"cell": {}},
    "a network that is a list": {"cell": {"architecture": []}},
    "no seconds": {"seconds": {}},
    "seconds of text": {"seconds": {"train": "9"}},
    "company of text": {"side_by_side": "2"},
    "seconds below 0": {"seconds": {"train": -9}},
    "endless seconds": {"seconds": {"train": 1e300, "evaluate": 1e308}},
    "memory of a list": {"memory": []},
    "memory of text": {"memory": {"host": "1"}},
    "a number of GPUs": {"hardware": {"gpus": 3}},
}


@pytest.mark.parametrize("what", ODD_TIMES)
def test_a_probe_or_record_with_odd_times_is_no_estimate(what, here):
    text = QUICK + 'rows = ["resnet18_scratch"]\ntasks = ["detection"]'
    (cell,) = plan_of(text, here).cells
    odd = record_of(cell, 1.0)
    for key, value in ODD_TIMES[what].items():
        merged = value and key in ("cell", "hardware")
        odd.content[key] = {**odd.content[key], **value} if merged else value
    durations = Durations()
    durations.add([odd])
    durations.add_probes([odd])
    assert durations.of(cell) is None
    assert durations.total([cell]) == (0, 1)


def test_the_dry_run_tells_cells_networks_cost_and_imports_nothing_heavy(tmp_path):
    command = [
        "-X",
        "importtime",
        "-m",
        "transfer.cli.main",
        "run",
        "--suite",
        "quick",
        "--dry-run",
    ]
    before = processes.children_seconds()
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TRANSFER_CACHE": str(tmp_path / "cache")},
    )
    assert processes.children_seconds() - before < 2
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "mmengine", "mmcv", "timm", "cv2", "scipy", "matplotlib"}
    assert "18 runs: 0 recorded, 18 to do." in done.stdout
    assert "11.69" in done.stdout
    assert "1.81" in done.stdout
    assert "--probe times a few steps" in done.stdout
    assert "Disk: at most" in done.stdout
    assert not list(tmp_path.iterdir()), "nothing is written"


# --- Workers --------------------------------------------------------------------------------------


def test_workers_have_a_gpu_each_and_their_share_of_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices = [environment_of(number, 3, 2)["CUDA_VISIBLE_DEVICES"] for number in range(3)]
    assert devices == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 7")
    devices = [environment_of(number, 2, 2)["CUDA_VISIBLE_DEVICES"] for number in range(2)]
    assert devices == ["5", "7"]
    assert int(environment_of(0, 64, 0)["OMP_NUM_THREADS"]) == 1
    assert environment_of(0, 1, 0) == {}


def undisturbed(tasks, folder):
    """The same cells, run one after another in this process: the reference."""
    from transfer.finetune.cell_run import run_cell

    for task in tasks:
        run_cell(replace(task, results=folder / "results", work_dir=folder / "work"))


def test_failures_are_kept_and_a_cell_that_runs_elsewhere_is_waited_for(here, cache):
    """One cell fails, one runs elsewhere until its owner gives it back, and one is done."""
    suite = quick_suite(here, cache, tasks=["segmentation"], seeds=[0, 1])
    first, second = tasks_of(suite, here)
    (here / "cut.pth").write_bytes(b"PK\x03\x04 cut short")
    broken = replace(first, cell=replace(first.cell, weights="cut.pth", weights_id="", seed=7))
    held = lease.Leases(record_path(first).parent.with_name("leases")).take(first.name)
    done = []

    def give_back_once(event, *arguments):
        if event == "finished" and not done:
            done.append(arguments[0])
            held.give_back()

    watcher = EventLog(give_back_once)
    tally = schedule([broken, first, second], watcher, retry=1).run()

    assert [task.name for task in tally.done] == [second.name, first.name]
    assert [task.name for task, _ in tally.failed] == [broken.name]
    assert watcher.of("failed").count(broken.name) == 2, "once more, as --retry 1 says"
    kept = failures.read(record_path(broken))
    assert kept.attempts == 2
    assert "'cut.pth' could not be read as weights" in kept.reason
    found, unreadable = records.read_all(here / "results", "tiny")
    assert len(found) == 2
    assert unreadable == [], "a failure is never mistaken for a record"


def test_one_work_folder_serves_one_driver_at_a_time(here, cache):
    """Drivers with results of their own know nothing of each other but the folder."""
    from transfer.finetune.cell_run import run_cell

    (task,) = tasks_of(quick_suite(here, cache, tasks=["segmentation"]), here)
    held = lease.Leases(task.work_leases).take(task.name)
    seen = []

    def listen(phase, done, total):
        seen.append(phase)
        if not task.place.joinpath("log.txt").exists():
            held.give_back()

    run_cell(task, listen)
    assert (
        seen[0] == f"waiting for {task.name}, which process {os.getpid()} on {held.owner.host} runs"
    )
    assert set(seen[1:]) == {"train", "evaluate"}

    state = task.place / "state" / "state.pt"
    state.parent.mkdir()
    state.touch()
    other = lease.Leases(task.work_leases).take(task.name)
    schedule([task], EventLog())
    assert state.exists(), "of a driver with other results, that is on its way"
    other.give_back()
    schedule([task], EventLog())
    assert not state.exists(), "left by a kill after the record was written"


def test_a_worker_that_is_killed_says_what_that_means(tmp_path):
    worker = WorkerProcess(0, {}, tmp_path / "worker.log")
    os.kill(worker.pid, signal.SIGKILL)
    assert worker.connection.poll(20)
    ((kind, reason, place),) = worker.messages()
    assert (kind, place) == ("memory", "host")
    assert reason.startswith("its process was ended by SIGKILL: the system does this when memory")
    worker.kill()


def test_results_that_cannot_be_written_end_a_suite_before_it_starts(here, cache, capsys):
    suite = quick_suite(here, cache)
    (here / "blocked").write_text("a file where the folder should be")
    assert run.main(["--suite", str(suite), "--results", str(here / "blocked")]) == 2
    assert f"{here / 'blocked'}' is not writable" in capsys.readouterr().err
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("place", ["looks", "sample/looks"])
def test_looks_that_cannot_be_written_are_found_before_the_first_run(place, here):
    (cell,) = plan_of(QUICK + 'rows = ["resnet18_scratch"]\ntasks = ["detection"]', here).cells
    cell = replace(cell, data="sample" if "sample" in place else "own")
    results = here / "results"
    task = Task(
        cell=cell,
        row=zoo.find("resnet18_scratch"),
        data=cell.data,
        data_root=here,
        results=results,
        work_dir=here / "work",
        command="",
    )
    require_all_writable([task])
    (results / place).parent.mkdir(parents=True, exist_ok=True)
    (results / place).write_text("a file where the folder should be")
    with pytest.raises(UserError, match=f"{place}' is not writable"):
        require_all_writable([task])


def test_signals_ask_once_and_interrupt_the_second_time(monkeypatch):
    monkeypatch.setattr(stopping, "_AT_ONCE", math.inf)
    with stopping.on_signals():
        for again in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):  # a launcher passes them on
            os.kill(os.getpid(), again)
        assert stopping.requested()
        monkeypatch.setattr(stopping, "_AT_ONCE", 0.0)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert not stopping.requested()


@pytest.mark.parametrize("terminal", [True, False])
def test_the_view_tells_what_is_done_running_failed_and_left(terminal, here, cache):
    tasks = tasks_of(quick_suite(here, cache, tasks=["segmentation"], seeds=[0, 1, 2, 3]), here)
    running, waiting, failing, elsewhere = tasks
    durations = Durations()
    durations.add([record_of(running.cell, 60.0)])
    shown = io.StringIO()
    console = Console(file=shown, width=120, force_terminal=terminal)
    tally = Tally(
        waiting=deque([Job(task=waiting), Job(task=elsewhere, elsewhere="process 7 on another")])
    )
    with SuiteView(4, console, durations, jobs=2) as view:
        view.started(failing, "process 5")
        view.failed(failing, "no room [on] the disk", again=False)
        tally.failed.append((failing, ""))
        view.started(running, "process 6")
        view.stepped(running, "train", 30, 60)
        view.refresh(tally)
        summary = view._summary()
    far = "" if terminal else " (train 30/60)"
    counts = f"4 runs: 1 running{far}, 1 failed, 2 waiting (1 run by another driver); "
    assert summary.startswith(counts)
    assert summary.endswith("about 0:01:30 left"), "30 s of the one, 120 s on two workers"
    assert f"failed  {failing.name}: no room [on] the disk" in shown.getvalue()
    assert ("30/60" in shown.getvalue()) == terminal
    assert (f"started {running.name} (process 6)" in shown.getvalue()) != terminal


def test_the_time_left_is_reported_before_there_is_any_record(here, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    suite = suite_file(
        here, QUICK + 'tasks = ["detection"]\nrows = ["resnet18_scratch"]\nseeds=[0, 1]'
    )
    running, waiting = tasks_of(suite, here)
    view = SuiteView(2, Console(file=io.StringIO()), Durations(), jobs=1)
    view.started(running, "here")
    view.stepped(running, "train", 10, 110)  # it goes on from an earlier state
    view.refresh(Tally(waiting=deque([Job(task=waiting)])))
    assert view._summary().endswith("time left unknown")
    now += 30
    view.stepped(running, "train", 40, 110)
    assert view._summary().endswith("about 0:03:00 left"), "70 of the one's steps, 110 of the other"


def test_the_time_left_names_the_cells_of_which_nothing_is_known(here, cache):
    tasks = tasks_of(quick_suite(here, cache, tasks=["segmentation", "detection"]), here)
    known = next(task for task in tasks if task.cell.task == "segmentation")
    durations = Durations()
    durations.add([record_of(known.cell, 60.0)])
    view = SuiteView(len(tasks), Console(file=io.StringIO()), durations, jobs=1)
    view.refresh(Tally(waiting=deque(Job(task=task) for task in tasks)))
    ahead = [task.cell.task for task in tasks]
    summary = f"0:0{ahead.count('segmentation')}:00 left, plus {ahead.count('detection')} run"
    assert summary in view._summary()
    assert view._summary().endswith("without an estimate")


def test_sigterm_and_kill_9_lose_nothing(here, cache):
    """A small version of ``chaos_suite.py``: asked to stop once and killed once."""
    suite = quick_suite(here, cache, tasks=["segmentation"], epochs=4)
    (task,) = tasks_of(suite, here)
    driver = chaos_suite.start(suite, here)
    while not (begun := chaos_suite.children(driver.pid)):
        assert driver.poll() is None
        time.sleep(0.05)
    for process in begun:  # what looks at the cells before the first, too
        os.kill(process, signal.SIGKILL)
    log = task.place / "log.txt"
    while not log.exists():
        assert driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(60) == 130
    assert "run the same command again to resume" in (here / "driver.log").read_text()
    assert chaos_suite.records_of(here) == {}
    assert (task.place / "state" / "state.pt").exists()
    victims, faults = chaos_suite.run_with_kills(suite, here, 1, random.Random(), longest=6)
    assert victims in (["driver"], ["worker"])
    assert faults == []
    assert "resumed at iteration" in log.read_text()
    undisturbed([task], here / "calm")
    assert chaos_suite.compare(here, here / "calm") == []


def gone_within_20_seconds(started):
    deadline = time.monotonic() + 20
    while any(lease._start_of(process) is not None for process in started):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of that")
def test_a_process_of_a_pool_dies_with_the_one_that_started_it():
    """It would wait for work for ever, with all of the libraries in memory."""
    script = (
        "import os, time\n"
        "from backbones.runtime import child_processes\n"
        "if __name__ == '__main__':\n"
        "    pool = child_processes.pool(1)\n"
        "    print(pool.submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script]
    result = processes.environment()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=result) as parent:
        child = int(parent.stdout.readline())
        assert lease._start_of(child) is not None
        parent.kill()
    assert gone_within_20_seconds([child])


def test_what_looks_at_the_cells_before_the_first_dies_with_its_driver(here, cache):
    driver = chaos_suite.start(quick_suite(here, cache, tasks=["segmentation"]), here)
    while not (begun := chaos_suite.children(driver.pid)):
        assert driver.poll() is None
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    assert gone_within_20_seconds(begun)


@pytest.mark.long
def test_kills_at_random_moments_of_both_tasks_lose_nothing(here, cache):
    suite = quick_suite(here, cache, epochs=3)
    victims, faults = chaos_suite.run_with_kills(suite, here, 5, random.Random(), longest=20)
    assert victims
    assert faults == []
    undisturbed(tasks_of(suite, here), here / "calm")
    assert chaos_suite.compare(here, here / "calm") == []


@pytest.mark.long
def test_four_drivers_together_run_every_cell_once(here, cache):
    suite = chaos_suite.write_suite(
        here, cache / "sample", rows=["resnet18_scratch"], seeds=range(4), tasks=["segmentation"]
    )
    finished, faults = chaos_suite.run_together(suite, here, drivers=4)
    assert faults == []
    assert sum(finished) == 4
    assert len(chaos_suite.records_of(here)) == 4
    assert chaos_suite.leftovers(here) == []


def test_the_disk_that_a_suite_needs_counts_the_weights_that_every_cell_keeps(here):
    cells = plan_of(QUICK + 'seeds = [0, 1]\nrows = ["resnet50_scratch"]', here).cells
    stream = io.StringIO()
    other = here / "results" / "records"  # of other data: says nothing of these
    other.mkdir(parents=True)
    (other / "a.json").write_text("x")
    print_costs(
        cells,
        results=here / "results",
        durations=Durations(),
        jobs=1,
        console=Console(file=stream, width=400),
    )
    line = next(line for line in stream.getvalue().splitlines() if line.startswith("Disk"))
    kept = float(line.split("public weights, ")[1].split(" MB")[0])
    assert kept == pytest.approx(4 * 4 * (25.557032 + 25), rel=0.06), "four cells of float32"
    assert "8.4 MB of records" in line or "8.0 MB of records" in line, line
