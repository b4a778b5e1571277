import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from backbones.common.errors import UserError
from tests.support import synthetic
from transfer.cli import main
from transfer.records import comparable, records
from transfer.records.finished_run import read_run
from transfer.records.plain_config import literal_config
from transfer.report.collection import collect

RUNS = (
    Path(__file__).parents[2] / "support" / "finished_runs"
)  # left by mmdet's and mmseg's own tools/train.py


def imported(capsys, *arguments):
    code = main.main(["import", *map(str, arguments)])
    return code, capsys.readouterr()


@pytest.mark.parametrize(
    ("name", "metric", "value"), [("det", "mAP", 10.505529555181662), ("seg", "mIoU", 32.4247)]
)
def test_a_finished_run_becomes_a_record_that_says_what_is_unknown(
    name, metric, value, tmp_path, capsys
):
    code, out = imported(capsys, RUNS / name, "--data", "mine", "--results", tmp_path)
    assert code == 0
    (path,) = (tmp_path / "records").glob("*.json")
    record = records.read(path)
    assert (record.metric, record.value) == (metric, pytest.approx(value, abs=1e-4))
    assert record.cell["protocol"] == "imported"
    assert record.cell["backbone"] == "resnet50"
    assert record.cell["seed"] == 0
    assert record.cell["precision"] == "float32"
    losses = [point["loss"] for point in record.content["curve"]]
    assert len(losses) == (6 if name == "seg" else 0), "the detector's epochs ended before a line"
    assert losses == sorted(losses, reverse=True)
    unknown = record.content["imported"]["unknown"]
    assert any("top-1" in sentence for sentence in unknown)
    assert all(sentence in out.out for sentence in unknown)
    (table,) = collect(tmp_path).gains
    assert table.rows[0].top1 is None


@pytest.mark.parametrize("name", ["det", "seg"])
def test_log_scalars_and_folder_tell_the_same(name):
    (log,) = RUNS.glob(f"{name}/*/*.log")
    (scalars,) = RUNS.glob(f"{name}/*/vis_data/scalars.json")
    from_log, from_scalars, from_folder = (read_run(p) for p in (log, scalars, RUNS / name))
    assert from_scalars == from_folder
    assert from_log.config == from_scalars.config
    assert from_log.config["randomness"] == {"seed": 0}
    assert from_log.metrics == pytest.approx(from_scalars.metrics, abs=1e-4)
    assert len(from_log.curve) == len(from_scalars.curve)
    for one, other in zip(from_log.curve, from_scalars.curve, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_the_last_evaluation_counts_not_the_best(tmp_path):
    lines = [{"loss": 1.0, "step": 1}, {"pascal_voc/mAP": 0.8, "step": 1},
             {"pascal_voc/mAP": 0.5, "pascal_voc/AP50": 0.5, "step": 2}]  # fmt: skip
    path = write_run(tmp_path, "\n".join(map(json.dumps, lines)))
    assert read_run(path).metrics["pascal_voc/mAP"] == 0.5


def write_run(folder, scalars, config=None, log=None):
    place = folder / "20260101_000000" / "vis_data"
    place.mkdir(parents=True)
    (place / "scalars.json").write_text(scalars)
    if config:
        (place / "config.py").write_text(config)
    if log:
        (place.parent / "20260101_000000.log").write_text(log)
    return folder


def test_units_become_percent(tmp_path, capsys):
    run = write_run(
        tmp_path / "run", '{"pascal_voc/mAP": 0.805, "pascal_voc/AP50": 0.81, "step": 3}'
    )
    code, out = imported(capsys, run, "--results", tmp_path)
    assert code == 0
    (path,) = (tmp_path / "records").glob("*.json")
    assert records.read(path).value == pytest.approx(80.5)
    assert records.read(path).content["metrics"]["pascal_voc/AP50"] == pytest.approx(81)
    assert "the seed; set it with --seed." in out.out
    assert "the backbone; set it with --backbone." in out.out


@pytest.mark.parametrize(
    ("scalars", "sentence"),
    [
        ("", "holds no evaluation"),
        ('{"loss": 1.0, "step": 1}', "holds no evaluation"),
        ("\x00\xff not a log", "holds no evaluation"),
        ('{"mIoU": NaN, "step": 1}', "has mIoU nan, which is not a number"),
        ('{"accuracy/top1": 76.1, "step": 1}', "supported metrics are mAP"),
        ("[" * 100_000, "holds no evaluation"),
    ],
)
def test_what_is_no_finished_run_is_named_and_nothing_is_written(
    scalars, sentence, tmp_path, capsys
):
    run = write_run(tmp_path / "run", scalars)
    code, out = imported(capsys, run, "--results", tmp_path / "results")
    assert code == 2
    assert sentence in out.err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("place", ["nowhere", "."])
def test_a_folder_without_a_run_is_named(place, tmp_path):
    with pytest.raises(UserError, match=r"does not exist|holds no vis_data/scalars\.json"):
        read_run(tmp_path / place)


def test_a_folder_of_several_runs_is_none(tmp_path, monkeypatch):
    with pytest.raises(
        UserError, match=r"holds 2 runs, '.*det' and others; import them one at a time"
    ):
        read_run(RUNS)
    (start,) = (RUNS / "det").glob("*/vis_data")
    shutil.copytree(start.parent, tmp_path / "start")
    monkeypatch.chdir(tmp_path / "start")
    assert read_run(Path()).metrics == read_run(RUNS / "det").metrics


def test_a_half_written_last_line_is_skipped_and_said(tmp_path):
    run = write_run(tmp_path, '{"mIoU": 31.5, "aAcc": 70, "step": 4}\n{"mIoU": 4')
    found = read_run(run)
    assert found.metrics["mIoU"] == 31.5
    assert "1 line of its log could not be read." in found.unknown


def test_a_broken_off_second_start_does_not_hide_the_first(tmp_path):
    shutil.copytree(RUNS / "det", tmp_path / "run")
    later = tmp_path / "run" / "20270101_000000" / "vis_data"
    later.mkdir(parents=True)
    (later / "scalars.json").write_text('{"loss": 2.0, "step": 1}\n')
    assert read_run(tmp_path / "run").metrics == read_run(RUNS / "det").metrics


@pytest.mark.parametrize(
    "config",
    [
        "import os\nmodel = dict(type='A')",
        "model = dict(type=open('{proof}', 'w').write('ran'))",
        "model = __import__('pathlib').Path('{proof}').touch()",
        "model = [x for x in (1, 2)]",
        "model = dict(**{'a': (lambda: 1)()})",
        "model = " + "(" * 500 + ")" * 500,
        "model: dict = 3 +",
        "for i in range(3): pass",
    ],
)
def test_a_config_is_never_run(config, tmp_path):
    proof = tmp_path / "proof"
    assert literal_config(config.replace("{proof}", str(proof))) is None
    run = write_run(
        tmp_path / "run", '{"mIoU": 3.0, "step": 1}', config.replace("{proof}", str(proof))
    )
    assert any("a table of their own" in sentence for sentence in read_run(run).unknown)
    assert not proof.exists()


@pytest.mark.slow
def test_the_config_is_read_as_mmengine_reads_it():
    mmengine = pytest.importorskip("mmengine.config")
    (path,) = RUNS.glob("det/*/vis_data/config.py")
    read = json.loads(json.dumps(mmengine.Config.fromfile(str(path)).to_dict()))
    assert literal_config(path.read_text()) == read


def test_imported_runs_never_share_a_table_with_our_own(tmp_path, capsys):
    synthetic.write_suite(tmp_path, ["resnet50_baseline"], seeds=range(3))
    imported(capsys, RUNS / "det", "--data", "voc0712", "--backbone", "resnet50d_tricks",
             "--results", tmp_path)  # fmt: skip
    tables = collect(tmp_path).gains
    assert sorted(table.setting.protocol for table in tables) == ["imported", "openmmlab"]
    assert all(len(table.rows) == 1 for table in tables)


def test_imported_runs_of_one_config_make_a_table_and_others_are_refused_by_name(tmp_path, capsys):
    rng = np.random.default_rng(0)
    config = "model = dict(backbone=dict(type='{0}'))\noptim_wrapper = dict(optimizer=dict(lr={1}))"
    for row, lr, shift in (("resnet50_baseline", 0.01, 0), ("mine", 0.01, 9), ("other", 0.02, 0)):
        for seed in range(3):
            value = 0.6 + shift / 100 + rng.normal(0, 0.002)
            run = write_run(
                tmp_path / f"{row}{seed}",
                json.dumps({"pascal_voc/mAP": value, "step": 1}),
                config.format(row, lr),
            )
            imported(capsys, run, "--backbone", row, "--data", "mine", "--seed", seed,
                     "--results", tmp_path)  # fmt: skip
    (table,) = collect(tmp_path).gains
    assert [row.name for row in table.rows] == ["resnet50_baseline", "mine"]
    assert table.rows[1].statistics.verdict == "gain"
    (sentence,) = table.left_out
    assert sentence.startswith("other (")
    assert "and 2 more) was fine-tuned differently" in sentence
    assert "optim_wrapper.optimizer.lr is 0.02, in the baseline 0.01" in sentence


@pytest.mark.parametrize(
    ("load_from", "resume", "gpus", "sentence"),
    [
        (None, False, 1, ""),
        (None, True, 1, ""),
        ("work/iter_9.pth", True, 1, ""),
        ("coco.pth", False, 1, "load_from is 'coco.pth', in the baseline None."),
        (None, False, 4, "global batch size 8, the baseline has 2; both need the same number"),
        (None, False, None, ""),
    ],
)
def test_runs_that_began_otherwise_or_on_other_gpus_are_refused_as_far_as_it_is_known(
    load_from, resume, gpus, sentence, tmp_path, capsys
):
    config = ("model = dict(backbone=dict(pretrained=True))\nload_from = {0!r}\nresume = {1}\n"
              "train_dataloader = dict(batch_size=2)")  # fmt: skip
    log = "Runtime environment:\n    seed: 0\n    GPU number: {}\n"

    def config_of(row, load_from, resume, gpus):
        scalars = json.dumps({"mIoU": 12.0 if row == "base" else 14.0, "step": 3})
        beside = log.format(gpus) if gpus else ""
        run = write_run(tmp_path / row, scalars, config.format(load_from, resume), beside)
        return imported(capsys, run, "--backbone", row, "--results", tmp_path)[1].out

    config_of("base", None, False, 1)
    unknown = config_of("n", load_from, resume, gpus)
    (table,) = collect(tmp_path, against="base").gains
    assert [row.name for row in table.rows] == (["base"] if sentence else ["base", "n"])
    assert sentence in " ".join(table.left_out)
    assert ("the global batch size: the number of GPUs" in unknown) == (gpus is None)
    assert ("the initial weights: the run was resumed" in unknown) == resume


@pytest.mark.parametrize(
    ("config", "source", "distinguished_by"),
    [
        ("model = dict(backbone=dict(type='ResNet'))", "", ""),
        ("model = dict(backbone=dict(type='TIMMBackbone', pretrained=True))", "pretrained",
         "unknown: pretrained"),
        ("model = dict(backbone=dict(init_cfg=dict(checkpoint='a.pth')))", "a.pth",
         "unknown: a.pth"),
        ("model = dict(backbone=dict(init_cfg=[dict(type='Kaiming'), dict(type='Pretrained', "
         "checkpoint='a.pth')]))", "a.pth", "unknown: a.pth"),
        ("model = dict(backbone=dict(), init_cfg=dict(checkpoint='b.pth'))", "b.pth",
         "unknown: b.pth"),
        ("model = dict(backbone=dict())\nload_from = 'c.pth'\nresume = False", "c.pth",
         "unknown: c.pth"),
        ("model = dict(backbone=dict())\nload_from = 'iter_9.pth'\nresume = True", "", ""),
        (None, "", "unknown: "),
    ],
)  # fmt: skip
def test_random_weights_are_distinguished_from_unknown_ones(
    config, source, distinguished_by, tmp_path, capsys
):
    run = write_run(tmp_path / "run", '{"pascal_voc/mAP": 0.8, "step": 3}', config)
    imported(capsys, run, "--backbone", "n", "--results", tmp_path)
    (path,) = (tmp_path / "records").glob("*.json")
    record = records.read(path)
    recorded = record.content["classifier"]
    assert (recorded["source"], recorded["sha256"]) == (source, distinguished_by)
    assert (comparable.classifier(record) == comparable.RANDOM) == (distinguished_by == "")


@pytest.mark.parametrize(
    ("length", "step", "is_finished"),
    [("max_epochs=12", 1, False), ("max_iters=80", 8, False), ("max_epochs=3", 3, True),
     ("max_iters=80", 80, True), ("max_epochs=3", 0, True)],
)  # fmt: skip
def test_a_run_that_was_broken_off_is_none(length, step, is_finished, tmp_path, capsys):
    config = f"model = dict(backbone=dict(type='ResNet'))\ntrain_cfg = dict({length})"
    run = write_run(tmp_path / "run", json.dumps({"mIoU": 12.0, "step": step}), config)
    code, out = imported(capsys, run, "--backbone", "n", "--results", tmp_path)
    assert code == (0 if is_finished else 2)
    assert ("the run is not finished" in out.err) is not is_finished
    assert len(list(tmp_path.glob("records/*.json"))) == is_finished


BY_ITERATIONS = """model = dict(backbone=dict(type='ResNet'))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=80)
default_hooks = dict(logger=dict(interval={}))
"""


@pytest.mark.parametrize(
    ("interval", "trained", "is_finished"),
    [
        (50, [50], True),  # 80 is no multiple of 50
        (10, [10, 60], False),
        (10, [10, 70], False),
        (10, [10, 80], True),
        (None, [10, 70], False),
        (None, [10, 75], True),
        (10, [], True),  # a test alone
    ],
)
@pytest.mark.parametrize("of", ["scalars", "a log by iterations", "a log by epochs"])
def test_an_evaluation_that_tells_no_iteration_is_as_old_as_the_training_before_it(
    of, interval, trained, is_finished, tmp_path, capsys
):
    """As by MMEngine's default: the epoch of a training by iterations is 0 all along."""
    run = write_run(tmp_path / "run", "", BY_ITERATIONS.format(interval))
    log = f"2026/01/01 00:00:00 - mmengine - INFO - Config:\n{BY_ITERATIONS.format(interval)}"
    train, val = {
        "a log by iterations": ("Iter(train) [{:>2}/80]", "Iter(val) [13/13]"),
        "a log by epochs": ("Epoch(train) [1][{:>2}/40]", "Epoch(val) [0][13/13]"),
        "scalars": ('{{"loss": 1.0, "iter": {0}, "step": {0}}}', '{"mIoU": 12.0, "step": 0}'),
    }[of]
    lines = [*map(train.format, trained), val]
    if not is_finished:  # trained on, and was killed
        lines.append(train.format(79))
    if of == "scalars":
        (run / "20260101_000000" / "vis_data" / "scalars.json").write_text("\n".join(lines))
    else:
        rows = [f"{line}    {'mIoU: 12.0' if line == val else 'loss: 1.0'}" for line in lines]
        run = tmp_path / "a.log"
        before = "2026/01/01 00:00:01 - mmengine - INFO - "
        run.write_text(log + "\n".join(before + line for line in rows) + "\n")
    code, out = imported(capsys, run, "--backbone", "n", "--results", tmp_path)
    assert code == (0 if is_finished else 2), out.err
    if not is_finished:
        assert f"was last evaluated after iter {trained[-1]} of 80" in out.err


def test_a_run_that_is_imported_again_is_still_one_run(tmp_path, capsys):
    run = write_run(tmp_path / "run", '{"mIoU": 12.0, "step": 3}')
    imported(capsys, run, "--backbone", "n", "--results", tmp_path)
    (first,) = tmp_path.glob("records/*.json")
    _, out = imported(capsys, run, "--backbone", "n", "--seed", "3", "--results", tmp_path)
    assert f"Replaced '{first}', which was imported from the same run." in out.out
    (second,) = tmp_path.glob("records/*.json")
    record = records.read(second)
    assert record.cell["seed"] == 3
    # Of two folders that were put together, one counts.
    other = json.loads(second.read_text())
    other["cell"]["seed"] = 4
    (tmp_path / "records" / "other.json").write_text(json.dumps(other))
    (table,) = collect(tmp_path).gains
    assert table.rows[0].statistics.fine_tunings == 1
    assert "imported from the same run" in " ".join(table.left_out)


def test_the_command_of_an_imported_record_makes_it_again(tmp_path, capsys):
    run = write_run(tmp_path / "my run", '{"mIoU": 12.0, "step": 3}')
    imported(capsys, run, "--backbone", "n o", "--data", "d", "--seed", 1, "--results", tmp_path)
    (path,) = tmp_path.glob("records/*.json")
    before = path.read_bytes()
    path.unlink()
    command = shlex.split(json.loads(before)["command"])
    assert main.main([*command[1:], "--results", str(tmp_path)]) == 0
    assert path.read_bytes() == before


def test_nothing_to_judge_is_no_figure(tmp_path, capsys):
    run = write_run(tmp_path / "run", '{"coco/bbox_mAP": -1, "step": 3}')
    code, out = imported(capsys, run, "--results", tmp_path)
    assert (code, "which is not a number" in out.err) == (2, True)
    run = write_run(tmp_path / "a", '{"coco/bbox_mAP": 0.1, "coco/bbox_mAP_s": -1, "step": 3}')
    assert imported(capsys, run, "--results", tmp_path)[0] == 0
    (path,) = tmp_path.glob("records/*.json")
    assert records.read(path).content["metrics"]["coco/bbox_mAP_s"] is None


@pytest.mark.parametrize(
    "config",
    [
        "model = dict(auxiliary_head=None, decode_head=[dict(in_channels=3)])",
        "model = dict(neck=[dict(in_channels=[1, 2]), dict(in_channels=3)])",
        "model = dict(backbone=5, neck=5)\ntrain_dataloader = dict(dataset=dict(datasets=5))",
    ],
)
def test_heads_in_lists_and_none_are_read(config, tmp_path, capsys):
    run = write_run(tmp_path / "run", '{"mIoU": 12.0, "step": 3}', config)
    assert imported(capsys, run, "--backbone", "n", "--results", tmp_path)[0] == 0
    (path,) = tmp_path.glob("records/*.json")
    assert "in_channels" not in json.dumps(records.compared(json.loads(
        records.read(path).content["config"]["json"])))  # fmt: skip


def test_numbers_that_are_none_are_left_out_of_the_curve(tmp_path, capsys):
    lines = ['{"loss": NaN, "step": 1}', '{"loss": 1.0, "lr": 1e999, "step": 2}',
             '{"loss": 0.5, "step": NaN}', f'{{"loss": {"9" * 400}, "step": 3}}',
             '{"mIoU": 12.0, "step": 4}']  # fmt: skip
    run = write_run(tmp_path / "run", "\n".join(lines))
    assert imported(capsys, run, "--results", tmp_path)[0] == 0
    (path,) = tmp_path.glob("records/*.json")
    assert [p.get("loss") for p in records.read(path).content["curve"]] == [None, 1.0, 0.5]


def test_figures_that_run_into_one_another_are_passed_over(tmp_path):
    log = (RUNS / "seg" / "20261122_193515" / "20261122_193515.log").read_text()
    line = next(line for line in log.splitlines() if "Epoch(train)" in line)
    figure = re.search(r" loss: +(\d+\.\d+)", line)[1]
    path = tmp_path / "a.log"
    path.write_text(log.replace(line, line.replace(f"loss: {figure}", f"loss: {figure}{figure}")))
    damaged, whole = (
        read_run(path),
        read_run(RUNS / "seg" / "20261122_193515" / "20261122_193515.log"),
    )
    assert damaged.metrics == whole.metrics
    assert damaged.curve == whole.curve[1:]


def test_a_config_longer_than_any_is_not_parsed():
    assert literal_config("a = 1\n" * 9) == {"a": 1}
    assert literal_config("a = 1\n" * (1 << 18)) is None
