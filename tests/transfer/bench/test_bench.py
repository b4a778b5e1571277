"""The speed of both sides: where its time goes, and the README's tables of it."""

import argparse
import dataclasses
import json
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner, ValLoop
from torch import nn

from backbones.common import hardware
from backbones.common.errors import UserError
from transfer.bench import bench_command, bench_record, ceiling, configs, fine_tuning
from transfer.bench import pairs as bench_pairs
from transfer.bench.breakdown import PARTS, Stopwatch, completed
from transfer.bench.pairs import Arithmetic, Run, Work, run_side
from transfer.cli import main
from transfer.finetune.finetune import build_runner
from transfer.report import speed_parts, speed_tables
from transfer.speed import hook as speed

ROOT = Path(__file__).resolve().parents[3]


def a_run(seconds, memory=100.0):
    phases = {"start_up": 1.0, "train": seconds - 2.0, "evaluate": 1.0}
    parts = {"start_up": 1.0, "forward": 0.5 * (seconds - 2), "evaluate": 1.0}
    return {
        "seconds": phases,
        "images": 8,
        "peak_mb": memory,
        "breakdown": completed(parts, seconds),
        "metric": None,
    }


def a_record(folder, ours, other, *, finished="2026-01-01T00:00:00+00:00", hardware=None, **work):
    fields = {
        "task": "detection",
        "data": "fruit",
        "protocol": "openmmlab",
        "backbone": "resnet50_baseline",
        "image_size": 320,
        "batch_size": 2,
        "precision": "float32",
        "images": 8,
    }
    content = {
        "against": "stock",
        "work": {**fields, **work},
        "ours": [a_run(seconds) for seconds in ours],
        "other": [a_run(seconds, 250.0) for seconds in other],
        "hardware": hardware or {"cpu": "A processor", "cores": 2},
        "finished": finished,
    }
    target = folder / "records" / "bench"
    target.mkdir(parents=True, exist_ok=True)
    (target / f"{len(list(target.iterdir()))}.json").write_text(json.dumps(content))


def collected(results):
    found, bad = speed_tables.collect(results)
    assert not bad
    return found


def tables(results):
    return speed_tables.text(collected(results), speed_tables.differences(results)[0])


def test_the_tables_of_speed_are_not_stale():
    found = collected(ROOT / "results")
    for name, part, text in (
        ("README.md", speed_parts.PART, speed_parts.summary(found)),
        ("docs/speed.md", speed_parts.RATIOS, tables(ROOT / "results")),
        ("docs/speed.md", speed_parts.BREAKDOWN, speed_tables.breakdowns(found)),
        ("docs/speed.md", speed_parts.LEFT_OUT, speed_tables.gains_of_parts(found)),
    ):
        content = (ROOT / name).read_text(encoding="utf-8")
        between = content.split(part.begin)[1].split(part.end)[0]
        assert between == "\n" + text, "run 'transfer bench --table'"


def test_the_table_has_the_median_of_the_pairs_ratios_and_both_memories(tmp_path):
    a_record(tmp_path, [10.0, 20.0, 10.0], [30.0, 50.0, 40.0])
    a_record(tmp_path, [10.0], [15.0], image_size=600)
    text = tables(tmp_path)
    assert "A processor (2 cores)" in text
    line = next(row for row in text.splitlines() if "320 px" in row)
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[1:9] == ["stock", "10.0", "40.0", "**3.00**", "2.50 … 4.00", "3", "100", "250"]
    assert cells[9:] == ["", ""], "the arithmetic was not counted"
    assert "**1.50**" in text
    shares = next(
        row for row in speed_tables.breakdowns(collected(tmp_path)).splitlines() if "600 px" in row
    )
    assert shares.split("|")[3:-1] == [f" {x} " for x in (
        "10.0", "0.0", "40.0", "0.0", "0.0", "10.0", "40.0"
    )]  # fmt: skip


def test_each_machine_has_a_table_of_its_own_the_one_measured_last_the_first(tmp_path):
    a_record(tmp_path, [10.0], [40.0], finished="2026-01-02T00:00:00+00:00")
    gpu = {"cpu": "A processor", "cores": 2, "gpus": ["A GPU"]}
    a_record(tmp_path, [10.0], [20.0], hardware=gpu, finished="2026-01-03T00:00:00+00:00")
    for text in (tables(tmp_path), speed_tables.breakdowns(collected(tmp_path))):
        first, second = text.split("\nA processor (2 cores)\n")
        assert "A processor (2 cores), A GPU\n" in first
        assert ("**2.00**" in first) is ("**4.00**" in second)


@pytest.mark.parametrize(
    ("side", "precision"),
    [
        ("ours", "bfloat16"),
        ("without KeptMemory", "bfloat16"),
        ("stock", "float32"),
        ("stock amp", "bfloat16"),
    ],
)
def test_the_ceiling_of_a_side_is_that_of_the_precision_it_computes_in(side, precision):
    work = Work(
        task="detection",
        side=side,
        backbone="resnet50_baseline",
        data="sample",
        data_root="",
        images=2,
        image_size=64,
        batch_size=2,
        precision="bfloat16",
        workers=0,
    )
    assert work.computed_in == precision


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_the_arithmetic_is_that_of_the_toolboxes_layers_by_their_shapes(
    task, small_sample, tmp_path, monkeypatch
):
    """Two operations for each weight at each position, as often again for each gradient."""
    monkeypatch.setattr(ceiling, "measured", lambda: {"float32": 1e9})
    work = a_work(task, small_sample, side="ours", images=2)
    products = ceiling.count(work, tmp_path / "counted")
    operations = []

    def add(layer, given, output):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            filters = layer.weight.shape[0]
            once = 2 * output.numel() * layer.weight.numel() // filters
            gradients = layer.weight.requires_grad + given[0].requires_grad
            operations.append(once * (1 + gradients))

    runner = Runner.from_cfg(configs.stock_config(work, tmp_path / "by_hand"))
    with nn.modules.module.register_module_forward_hook(add):
        runner.train()
    trained = runner.train_loop.max_iters * work.batch_size
    assert products.of_image * trained == pytest.approx(sum(operations), rel=1e-3)
    assert products.ceiling == {"float32": 1e9}


def test_the_speed_of_products_is_measured_in_both_precisions(monkeypatch):
    monkeypatch.setattr(ceiling, "_SECONDS", 0.01)
    ceilings = ceiling.measured()
    assert ceilings.keys() == {"float32", "bfloat16"}
    assert all(1e8 < speed < 1e15 for speed in ceilings.values())


def test_a_side_that_leaves_a_gpu_alone_is_not_set_beside_one(monkeypatch, capsys):
    monkeypatch.setattr(hardware, "cuda_devices", lambda: 1)
    asked = ["bench", "--task", "detection", "--against", "stock, torchvision"]
    assert main.main(asked) == 2
    assert "CUDA_VISIBLE_DEVICES" in capsys.readouterr().err


def test_processors_of_one_name_and_two_generations_are_distinguished(monkeypatch):
    text = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n"
    monkeypatch.setattr(hardware, "_cpuinfo", lambda: text)
    assert hardware.cpu_name.__wrapped__() == "AMD EPYC, family 25, model 17"
    monkeypatch.setattr(hardware, "_cpuinfo", lambda: "model name\t: A processor\n")
    assert hardware.cpu_name.__wrapped__() == "A processor"


@pytest.mark.parametrize(
    "changed",
    [
        {"arithmetic": {"operations": 1.0}},
        {
            "arithmetic": {
                "operations": 1.0,
                "ceiling": {"float32": 0.0},
                "computed_in": {"ours": "float32", "other": "float32"},
            }
        },
        {"other": []},
        {"other": [a_run(40.0), a_run(40.0)]},
        {"ours": [{"seconds": {"train": 10.0}}]},
        {"ours": [{**a_run(10.0), "breakdown": {"load": 1.0}}]},
        {"finished": None},
        {"git": "61c2826"},
    ],
)
def test_a_record_that_is_not_whole_is_named(changed, tmp_path):
    a_record(tmp_path, [10.0], [40.0])
    (path,) = (tmp_path / "records" / "bench").iterdir()
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changed}))
    found, (sentence,) = speed_tables.collect(tmp_path)
    assert found == []
    assert f"{path}' is not a complete record of 'transfer bench'" in sentence


def test_stock_with_amp_is_the_toolboxes_own_and_needs_a_gpu(small_sample, tmp_path, capsys):
    cfg = configs.stock_config(a_work("detection", small_sample, side="stock amp"), tmp_path)
    assert cfg.optim_wrapper.type == "AmpOptimWrapper"
    assert cfg.optim_wrapper.loss_scale == "dynamic"
    if not torch.cuda.is_available():
        assert main.main(["bench", "--task", "detection", "--against", "stock amp"]) == 2
        assert "needs an NVIDIA GPU" in capsys.readouterr().err


def test_only_the_last_of_two_measurements_of_the_same_is_reported(tmp_path):
    a_record(tmp_path, [10.0], [40.0], finished="2026-01-02T00:00:00+00:00")
    a_record(tmp_path, [10.0], [20.0], finished="2026-01-01T00:00:00+00:00")
    assert "**4.00**" in tables(tmp_path)
    assert "**2.00**" not in tables(tmp_path)


def test_the_command_writes_between_the_marks_and_nowhere_else(tmp_path, capsys):
    a_record(tmp_path, [10.0], [40.0])
    readme = tmp_path / "README.md"
    bench_command = ["bench", "--table", "--results", str(tmp_path), "--readme", str(readme)]
    assert main.main(bench_command) == 2
    assert speed_parts.PART.begin in capsys.readouterr().err
    readme.write_text(f"before\n{speed_parts.PART.begin}\nold\n{speed_parts.PART.end}\nafter\n")
    assert main.main(bench_command) == 0
    content = readme.read_text()
    assert content.startswith("before\n")
    assert content.endswith(f"{speed_parts.PART.end}\nafter\n")
    assert "| A processor (2 cores) | 4.00 |" in content
    assert "old" not in content


def test_one_bad_file_among_the_records_ends_no_table(tmp_path, capsys):
    a_record(tmp_path, [10.0], [40.0])
    for kind in ("bench", "equivalence"):
        folder = tmp_path / "records" / kind
        folder.mkdir(exist_ok=True)
        (folder / "bad.json").write_text('{"difference": 5, "work": [], "against": "\\ud800"}')
        (folder / "odd.json").mkdir()
        (folder / "._a.json").write_bytes(b"\0\5\26\7")
    readme = tmp_path / "README.md"
    readme.write_text(f"{speed_parts.PART.begin}\n{speed_parts.PART.end}\n")
    asked = ["bench", "--table", "--results", str(tmp_path), "--readme", str(readme)]
    assert main.main(asked) == 0
    assert "| 4.00 |" in readme.read_text()
    printed = capsys.readouterr().err
    assert [f"{kind}/{name}.json'" in printed for kind in ("bench", "equivalence")
            for name in ("bad", "odd")] == [True] * 4  # fmt: skip
    assert "._a" not in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--pairs 0", "--pairs must be 1"),
        ("--equivalence --pairs 1", "--pairs must be 2"),
        ("--images -1", "--images must be 1"),
        ("--image-size 0", "--image-size must be 1"),
        ("--batch-size 0", "--batch-size must be 1"),
        ("--workers -1", "--workers must be 0"),
    ],
)
def test_a_number_that_nothing_can_be_measured_with_is_refused_first(arguments, message, capsys):
    assert main.main(["bench", "--task", "detection", *arguments.split()]) == 2
    assert f"error: {message} or more." in capsys.readouterr().err


def test_equivalence_with_something_else_than_stock_is_refused(capsys):
    asked = ["bench", "--equivalence", "--task", "detection", "--against", "torchvision"]
    assert main.main(asked) == 2
    assert "--equivalence only compares with stock" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gpus", "given", "expected"),
    [
        (0, [], (24, 320, 2, 0)),
        (2, [], (400, 600, 2, 6)),
        (2, ["--images", "8", "--image-size", "96", "--workers", "0"], (8, 96, 2, 0)),
    ],
)
def test_a_gpu_has_sizes_and_readers_of_its_own(gpus, given, expected, monkeypatch):
    monkeypatch.setattr(hardware, "cuda_devices", lambda: gpus)
    monkeypatch.setattr(hardware, "cpu_cores", lambda: 12)
    parser = argparse.ArgumentParser()
    bench_command.add_arguments(parser)
    args = parser.parse_args(["--task", "detection", "--precision", "float32", *given])
    work = bench_command._work(args, Path(), "openmmlab")
    assert (work.images, work.image_size, work.batch_size, work.workers) == expected


def test_of_many_images_some_are_counted_and_taken_as_an_example(
    small_sample, tmp_path, monkeypatch
):
    monkeypatch.setattr(ceiling, "measured", lambda: {"float32": 1e9, "bfloat16": 1e9})
    whole = a_work("detection", small_sample, images=4, image_size=32)
    (tmp_path / "all").mkdir()
    (tmp_path / "some").mkdir()
    counted = ceiling.count(whole, tmp_path / "all")
    monkeypatch.setattr(ceiling, "_COUNTED", 4)
    more = dataclasses.replace(whole, images=12)
    assert ceiling.count(more, tmp_path / "some").of_image == counted.of_image


def test_the_command_prints_and_records_medians_ratio_spread_machine_and_versions(
    tmp_path, capsys, monkeypatch
):
    asked = []

    def measured(ours, other, pairs, tell):
        asked.extend([ours, other, pairs])
        for seconds, theirs in ((2.0, 9.0), (4.0, 8.0), (3.0, 15.0)):
            yield (
                0,
                (
                    Run(seconds={"train": seconds}, images=72, peak_mb=100.0, steps=[seconds]),
                    Run(seconds={"train": theirs}, images=72, peak_mb=200.0, steps=[theirs]),
                ),
            )

    def counted(work):
        asked.append(work)
        return Arithmetic(6e9 / 72, {"float32": 1e9, "bfloat16": 4e9})

    monkeypatch.setattr(bench_command, "alternate", measured)
    monkeypatch.setattr(bench_command, "count", counted)
    monkeypatch.setenv("COLUMNS", "120")
    arguments = ["--task", "detection", "--against", "stock", "--pairs", "3"]
    arguments += ["--precision", "bfloat16"]
    assert main.main(["bench", *arguments, "--results", str(tmp_path)]) == 0
    counted_first, ours, (other,), pairs = asked
    assert (ours.side, other.side, pairs) == ("ours", "stock", 3)
    assert counted_first == ours, "a failure then costs no pairs"
    assert (ours.images, ours.image_size, ours.batch_size) == (24, 320, 2)
    printed = capsys.readouterr().out
    (line,) = [row for row in printed.splitlines() if "total" in row]
    assert [cell.strip() for cell in line.strip("│").split("│")[1:]] == [
        "3.00", "9.00", "4.50", "2.00 … 5.00"
    ]  # fmt: skip
    assert hardware.cpu_name() in " ".join(printed.split())
    assert f"torch {torch.__version__.split('+')[0]}" in " ".join(printed.split())
    (path,) = (tmp_path / "records" / "bench").glob("*.json")
    record = json.loads(path.read_text())
    assert (record["against"], record["ratio"]) == ("stock", 4.5)
    assert record["ratios"] == [4.5, 2.0, 5.0]
    assert record["versions"].keys() >= {"torch", "torchvision", "python"}
    assert record["hardware"]["cpu"] == hardware.cpu_name()
    assert "ours reaches 50 %, stock reaches 67 % of that" in " ".join(printed.split())
    text = tables(tmp_path)
    assert f"{hardware.cpu_cores()} cores): 4 GFLOP/s in bfloat16 and 1 GFLOP/s in float32" in text
    assert "| 3 | 100 | 200 | 50 | 67 |" in text


@pytest.mark.parametrize("end", [UserError("The side 'stock' failed."), KeyboardInterrupt()])
def test_pairs_that_are_measured_are_kept_however_it_ends(tmp_path, capsys, monkeypatch, end):
    def measured(*_):
        for seconds in (2.0, 4.0):
            yield (
                0,
                (
                    Run(seconds={"train": seconds}, images=72, peak_mb=100.0),
                    Run(seconds={"train": 9.0}, images=72, peak_mb=200.0),
                ),
            )
        raise end

    monkeypatch.setattr(bench_command, "alternate", measured)
    monkeypatch.setattr(bench_command, "count", lambda work: Arithmetic(1e9, {"float32": 1e9}))
    asked = ["bench", "--task", "detection", "--against", "stock", "--precision", "float32"]
    assert main.main([*asked, "--results", str(tmp_path)]) != 0
    captured = capsys.readouterr()
    assert "2 of 5 pairs are recorded in" in " ".join((captured.out + captured.err).split())
    (path,) = (tmp_path / "records" / "bench").glob("*.json")
    record = json.loads(path.read_text())
    assert (record["asked"], record["ratios"]) == (5, [4.5, 2.25])


def test_nothing_is_recorded_where_nothing_was_measured(tmp_path, monkeypatch, capsys):
    def measured(*_):
        raise UserError("The side 'stock' failed.")
        yield

    monkeypatch.setattr(bench_command, "alternate", measured)
    monkeypatch.setattr(bench_command, "count", lambda work: Arithmetic(1e9, {"float32": 1e9}))
    asked = ["bench", "--task", "detection", "--against", "stock", "--precision", "float32"]
    assert main.main([*asked, "--results", str(tmp_path)]) == 2
    assert "recorded" not in capsys.readouterr().err
    assert not (tmp_path / "records").exists()


def test_a_measurement_that_came_to_its_end_stands_before_one_that_did_not(tmp_path):
    a_record(tmp_path, [10.0, 10.0], [40.0, 40.0])
    (whole,) = (tmp_path / "records" / "bench").iterdir()
    content = json.loads(whole.read_text())
    part = {**content, "asked": 5, "finished": "2099-01-01T00:00:00+00:00"}
    whole.with_name("later.json").write_text(json.dumps(part))
    assert [record["finished"] for record in collected(tmp_path)] == [content["finished"]]
    whole.write_text(json.dumps({**content, "asked": 3}))
    assert [record["finished"] for record in collected(tmp_path)] == [part["finished"]]


def test_pairs_that_could_not_be_written_are_not_called_recorded(tmp_path, capsys, monkeypatch):
    def full(path, content):
        raise UserError("The disk is full.")

    pair = (
        Run(seconds={"train": 2.0}, images=72, peak_mb=100.0),
        Run(seconds={"train": 9.0}, images=72, peak_mb=200.0),
    )
    monkeypatch.setattr(bench_command, "alternate", lambda *_: iter([(0, pair)]))
    monkeypatch.setattr(bench_command, "count", lambda work: Arithmetic(1e9, {"float32": 1e9}))
    monkeypatch.setattr(bench_record, "write_atomically", full)
    asked = ["bench", "--task", "detection", "--against", "stock", "--precision", "float32"]
    assert main.main([*asked, "--results", str(tmp_path)]) == 2
    assert "recorded" not in capsys.readouterr().err


def test_a_part_inside_of_another_counts_once():
    watch = Stopwatch()
    with watch.time("evaluate"), watch.time("load"):
        pass
    with watch.time("load"):
        pass
    assert set(watch.seconds) == {"evaluate", "load"}
    phases = completed({"start_up": 2.0, "load": 3.0}, 10.0)
    assert tuple(phases) == PARTS
    assert phases["other"] == 5.0
    assert sum(phases.values()) == 10.0


def test_the_intervals_of_equivalence_stand_below_the_ratios(tmp_path):
    a_record(tmp_path, [10.0], [40.0])
    content = {
        "against": "float32",
        "work": {"task": "segmentation", "data": "fruit", "precision": "bfloat16"},
        "difference": {"values": [0.1, -0.1], "mean": 0.0, "low": -0.63, "high": 0.63},
    }
    path = tmp_path / "records" / "equivalence" / "a.json"
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    _, (sentence,) = speed_tables.differences(tmp_path)
    assert f"{path}' is not a complete record of 'transfer bench --equivalence'" in sentence
    content["difference"]["verdict"] = "inconclusive"
    path.write_text(json.dumps(content))
    (line,) = [row for row in tables(tmp_path).splitlines() if "float32 | +0.00" in row]
    assert "| -0.63 … +0.63 | 2 | inconclusive |" in line


def a_work(task, small_sample, **changes):
    fields = {
        "side": "stock", "backbone": "resnet18_baseline", "data": "sample",
        "data_root": str(small_sample), "images": 8, "image_size": 64, "batch_size": 2,
        "precision": "bfloat16", "workers": 0,
    }  # fmt: skip
    return Work(task=task, **{**fields, **changes})


def of_ours(config):
    """Names of this project's own parts in a config."""
    text = json.dumps(config.to_dict(), default=str)
    own = ("Resumable", "Replayable", "Bfloat16", "Placed", "Speed")
    return {name for name in own if name in text}


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_stock_has_the_same_model_and_images_and_nothing_that_saves_time(
    task, small_sample, tmp_path
):
    work = a_work(task, small_sample)
    ours, stock = configs.config(work), configs.stock_config(work, tmp_path)
    assert {"Resumable", "Speed", "Bfloat16"} <= of_ours(ours)
    assert of_ours(stock) <= {"Replayable"}, "whose draws cost nothing"
    assert stock.model == ours.model
    assert stock.train_dataloader.dataset == ours.train_dataloader.dataset
    assert stock.train_dataloader.batch_size == ours.train_dataloader.batch_size == 2
    assert stock.val_dataloader == ours.val_dataloader
    assert stock.optim_wrapper.optimizer == ours.optim_wrapper.optimizer
    assert stock.param_scheduler == ours.param_scheduler
    assert (stock.train_cfg.max_epochs, ours.train_cfg.max_epochs) == (1, 1)


@pytest.mark.parametrize("images", [2, 3, 6, 8])
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_both_sides_train_the_same_batches(task, images, small_sample, tmp_path):
    work = a_work(task, small_sample, images=images)
    ours = build_runner(configs.config(work), tmp_path / "ours", [])
    stock = Runner.from_cfg(configs.stock_config(work, tmp_path / "stock"))
    batches = [
        [
            [sample.img_path for sample in batch["data_samples"]]
            for batch in runner.build_dataloader(runner._train_dataloader)
        ]
        for runner in (ours, stock)
    ]
    assert batches[0] == batches[1] != []


@pytest.mark.parametrize("side", ["ours", "stock"])
@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_either_side_evaluates_once(task, side, small_sample, tmp_path, monkeypatch):
    evaluated = []
    run = ValLoop.run
    monkeypatch.setattr(ValLoop, "run", lambda loop: evaluated.append(loop) or run(loop))
    precision = hardware.fast_precision()
    work = a_work(task, small_sample, side=side, images=6, batch_size=4, precision=precision)
    done = fine_tuning.SIDES[side](work, tmp_path)
    assert len(evaluated) == 1
    assert done.images == {"detection": 18, "segmentation": 4}[task], (
        "detection's data come thrice, and only its last batch need not be full"
    )
    assert 0 <= done.metric <= 100
    assert sum(done.breakdown.values()) == pytest.approx(sum(done.seconds.values()))


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_a_side_can_leave_out_each_thing_that_saves_time_and_nothing_else(task, small_sample):
    whole = configs.config(a_work(task, small_sample, side="ours"))
    for name in speed.PARTS:
        assert fine_tuning.SIDES[f"without {name}"] is fine_tuning.ours
        left = configs.config(a_work(task, small_sample, side=f"without {name}"))
        *others, hook = left.custom_hooks
        assert hook == {"type": "Speed", "without": [name]}
        assert [*others, {"type": "Speed"}] == whole.custom_hooks
        left.custom_hooks = whole.custom_hooks
        assert left.to_dict() == whole.to_dict()


@pytest.mark.parametrize(
    ("task", "against", "near"),
    [
        ("detection", "without FusedSegmentationLoss", "without "),
        ("segmentation", "without Winograd", "without WinogradConvolutions"),
        ("classification", "without FusedSgd", "timm"),
    ],
)
def test_a_side_that_there_is_not_is_refused_with_those_that_there_are(
    task, against, near, tmp_path
):
    parser = argparse.ArgumentParser()
    bench_command.add_arguments(parser)
    asked = ["--task", task, "--against", against, "--results", str(tmp_path)]
    with pytest.raises(UserError, match=near):
        bench_command.run(parser.parse_args(asked))


def test_each_part_is_left_out_once_a_round_and_shares_our_run(tmp_path, monkeypatch, capsys):
    order = []

    def side(work):
        order.append(work.side)
        seconds = {"ours": 2.0, "without KeptMemory": 3.0}.get(work.side, 2.5)
        steps = [9.0, seconds, seconds]  # the first one is disturbed
        return Run(seconds={"train": sum(steps)}, images=72, peak_mb=100.0, steps=steps)

    monkeypatch.setattr(bench_pairs, "run_side", side)
    monkeypatch.setattr(bench_command, "count", lambda work: pytest.fail("no ceiling is compared"))
    asked = ["bench", "--task", "segmentation", "--against", "without each part", "--pairs", "2"]
    assert main.main([*asked, "--precision", "float32", "--results", str(tmp_path)]) == 0
    here = [n for n, one in speed.PARTS.items() if one.toolbox != "mmdet" and not one.gpu]
    sides = ["ours", *(f"without {name}" for name in here)]
    assert order == [*sides, *reversed(sides)]
    records = [json.loads(p.read_text()) for p in (tmp_path / "records" / "bench").iterdir()]
    assert {r["against"] for r in records} == set(sides[1:])
    assert "without" not in tables(tmp_path), "a part is not an opponent"
    made = speed_tables.gains_of_parts(collected(tmp_path)).splitlines()[4:]
    assert made[0].startswith("| KeptMemory | segmentation, ")
    assert made[0].endswith(" | 1.50 | 1.50 … 1.50 | 2 |")
    assert {line.split(" | ")[2] for line in made[1:]} == {"1.25"}


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_a_pair_for_results_has_the_protocols_length_draws_and_metric(task, small_sample, tmp_path):
    work = a_work(task, small_sample, paired=True, images=0, protocol="quick")
    ours, stock = configs.config(work), configs.stock_config(work, tmp_path)
    assert stock.train_cfg.max_epochs == ours.train_cfg.max_epochs > 1
    assert stock.val_evaluator == ours.val_evaluator
    assert [hook.type for hook in stock.custom_hooks] == ["SeedIterations"]
    assert stock.train_dataloader.dataset == ours.train_dataloader.dataset
    assert stock.randomness == ours.randomness


def test_a_side_that_cannot_be_measured_says_why_in_its_own_sentence(tmp_path):
    work = Work(
        task="detection",
        side="ours",
        backbone="resnet18_baseline",
        data="nowhere",
        data_root=str(tmp_path),
        images=2,
        image_size=64,
        batch_size=2,
        precision="",
        workers=0,
    )
    with pytest.raises(UserError, match=r"^The side 'ours' failed: [^:]*'nowhere'"):
        run_side(work)
